// SPDX-License-Identifier: Apache-2.0

package erofs

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var open fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return New(r) }

// command returns the command line with options.
func command(options string) func(dir, image string) []string {
	return func(dir, image string) []string {
		return append(append([]string{"mkfs.erofs", "--quiet"}, strings.Fields(options)...), image, dir)
	}
}

func TestFilesOfMkfsErofsAreRead(t *testing.T) {
	t.Parallel()
	var all []fstest.Mkfs
	for _, options := range []string{"", "-Eforce-inode-extended", "-zlz4hc", "-zlz4 -C65536",
		"-zlz4 -Eztailpacking", "-zlz4hc -C131072 -Efragments",
		"-zlz4 -Eall-fragments", "-zlz4 -Ededupe,fragments -C32768", "--chunksize=65536"} {
		all = append(all, fstest.Mkfs{Name: options, Open: open, Known: func(*diskimage.Entry) {},
			Command: command(options), NoHoles: true})
	}
	fstest.TestMkfs(t, fstest.Mixed(), all...)
}

// small returns small file systems with all structures, one for each list of options.
func small(t testing.TB, options ...string) (images []fstest.Memory) {
	t.Helper()
	source := fstest.NewDirectory(t, fstest.Small(2038))
	for _, o := range options {
		image, err := os.ReadFile(source.Make(t, 0, command(o)))
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	return images
}

var damageable = []string{"", "-zlz4hc", "-zlz4 -Ededupe", "-zlz4hc -Eztailpacking",
	"-zlz4 -C65536 -Efragments"}

func TestDamageIsAnErrorAndNothingWorse(t *testing.T) {
	t.Parallel()
	for _, image := range small(t, damageable...) {
		open.TestDamage(t, image, 500)
		image[superOffset+0x40] ^= 1
		if _, err := New(strings.NewReader(string(image))); err == nil {
			t.Error("a superblock with a wrong checksum was read")
		}
	}
	if _, err := New(strings.NewReader("")); !errors.Is(err, ErrNoErofs) {
		t.Errorf("got %v", err)
	}
}

func FuzzDamage(f *testing.F) {
	images := small(f, damageable...)
	for _, image := range images {
		image[superOffset+8] &^= compatChecksum // the rest would never be reached
	}
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x20 + i, 0, 0x80, 0, 0x30, 0xFF})
	}
	open.Fuzz(f, superOffset, superOffset+128, images...)
}

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
		{superBlock{}, 128}, {compactInode{}, 32}, {extendedInode{}, 64}, {xattrHeader{}, 12}, {xattrEntry{}, 4},
		{dirEntry{}, 12}, {mapHeader{}, 8}, {clusterEntry{}, 8},
	})
}
