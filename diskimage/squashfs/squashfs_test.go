// SPDX-License-Identifier: Apache-2.0

package squashfs

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var open fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return New(r) }

// known clears what a squashfs cannot hold: nanoseconds, and times before 1970 and after 2106.
func known(e *diskimage.Entry) {
	e.ModTime = time.Unix(int64(uint32(e.ModTime.Unix())), 0).UTC()
}

// plain are the options for a file system without compression.
const plain = "-noI -noD -noF -noX"

// command returns the command line with options.
func command(options ...string) func(dir, image string) []string {
	return func(dir, image string) []string {
		return append([]string{"mksquashfs", dir, image, "-noappend", "-quiet", "-no-progress", "-processors", "1"},
			options...)
	}
}

func TestFilesOfMksquashfsAreRead(t *testing.T) {
	t.Parallel()
	var all []fstest.Mkfs
	for _, options := range []string{"-comp gzip", "-comp xz", "-comp zstd -b 1M", "-comp lz4 -b 4096", "-comp lzo",
		"-comp lzma -b 64K", plain, "-no-fragments -comp lz4", "-always-use-fragments -no-exports"} {
		all = append(all, fstest.Mkfs{Name: options, Open: open, Known: known,
			Command: command(strings.Fields(options)...)})
	}
	fstest.TestMkfs(t, fstest.Mixed(), all...)
}

// small returns small file systems with all structures, one for each list of options.
func small(t testing.TB, options ...string) (images []fstest.Memory) {
	t.Helper()
	source := fstest.NewDirectory(t, fstest.Small(2038))
	for _, o := range options {
		image, err := os.ReadFile(source.Make(t, 0, command(strings.Fields(o)...)))
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	return images
}

func TestDamageIsAnErrorAndNothingWorse(t *testing.T) {
	t.Parallel()
	for _, image := range small(t, plain, "-comp gzip", "-comp xz", "-comp zstd", "-comp lz4", "-comp lzo", "-comp lzma") {
		open.TestDamage(t, image, 500)
	}
	if _, err := New(strings.NewReader("hsqs")); !errors.Is(err, ErrNoSquashfs) {
		t.Errorf("got %v", err)
	}
}

func FuzzDamage(f *testing.F) {
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x20 + i, 0, 0x80, 0, 0x30, 0xFF})
	}
	open.Fuzz(f, 0, 96, small(f, plain, "-comp gzip")...)
}

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
		{superBlock{}, 96}, {inodeHeader{}, 16}, {dirInode{}, 16}, {extendedDirInode{}, 24}, {fileInode{}, 16},
		{extendedFileInode{}, 40}, {linkInode{}, 8}, {deviceInode{}, 8}, {dirHeader{}, 12}, {dirEntry{}, 8},
		{fragmentEntry{}, 16}, {xattrTable{}, 16}, {xattrID{}, 16}, {xattrEntry{}, 4},
	})
}
