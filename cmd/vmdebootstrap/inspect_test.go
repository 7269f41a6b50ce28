// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// inspected returns what "vmdebootstrap inspect" prints.
func inspected(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root, _ := newRoot(environment{dir: dir, stat: os.Stat}, &out, io.Discard)
	root.SetArgs(append([]string{"inspect"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// The table, the identifiers and the free blocks are those that sfdisk, blkid, dumpe2fs and mdir see.
func TestInspectAgreesWithOtherReaders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := testImage(t, dir)
	text, err := inspected(t, dir, "disk.img", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var r inspect.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	var sfdisk struct {
		PartitionTable struct {
			Label      string
			Partitions []struct {
				Start, Size uint64
				Type, UUID  string
			}
		}
	}
	if err := json.Unmarshal([]byte(diskimagetest.Run(t, "sfdisk", "--json", image)), &sfdisk); err != nil {
		t.Fatal(err)
	}
	table := sfdisk.PartitionTable
	if r.Schema != inspect.Schema || r.Disk.Table != table.Label || len(r.Disk.Partitions) != len(table.Partitions) {
		t.Fatalf("got %+v, want %+v", r.Disk, table)
	}
	mounts := map[string]string{"ext4": "/", "ext2": "/boot", "vfat": "/boot/efi"}
	for i, p := range r.Disk.Partitions {
		want := table.Partitions[i]
		if p.Start != want.Start*512 || p.Size != want.Size*512 || !strings.EqualFold(p.ID, want.UUID) {
			t.Errorf("got %+v, want %+v", p, want)
		}
		blkid := diskimagetest.Run(t, "blkid", "--probe", "--output=export", fmt.Sprintf("--offset=%d", p.Start),
			fmt.Sprintf("--size=%d", p.Size), image)
		for _, line := range []string{"TYPE=" + p.Filesystem.Type, "UUID=" + p.Filesystem.ID} {
			if !strings.Contains(blkid, line+"\n") {
				t.Errorf("blkid says:\n%swant %s", blkid, line)
			}
		}
		if p.Filesystem.MountPoint != mounts[p.Filesystem.Type] {
			t.Errorf("%s is mounted at %q", p.Filesystem.Type, p.Filesystem.MountPoint)
		}
		number := func(text, pattern string) uint64 {
			t.Helper()
			m := regexp.MustCompile(pattern).FindStringSubmatch(text)
			if m == nil {
				t.Fatalf("no %q in:\n%s", pattern, text)
			}
			n, err := strconv.ParseUint(strings.ReplaceAll(m[1], " ", ""), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if p.Filesystem.Type == "vfat" {
			mdir := diskimagetest.Run(t, "mdir", "-i", fmt.Sprintf("%s@@%d", image, p.Start))
			if want := number(mdir, `([0-9 ]+) bytes free`); p.Filesystem.Free != want {
				t.Errorf("%d bytes free, mdir says %d", p.Filesystem.Free, want)
			}
			continue
		}
		dumpe2fs := diskimagetest.Run(t, "dumpe2fs", "-h", fmt.Sprintf("%s?offset=%d", image, p.Start))
		block := number(dumpe2fs, `Block size:\s+(\d+)`)
		if size, free := number(dumpe2fs, `Block count:\s+(\d+)`)*block, number(dumpe2fs, `Free blocks:\s+(\d+)`)*block; p.Filesystem.Size != size || p.Filesystem.Free != free {
			t.Errorf("%+v, dumpe2fs says %d and %d", p.Filesystem, size, free)
		}
	}
}

// A hostile name cannot move the cursor of a terminal.
func TestInspectShowsNamesWithoutControlCharacters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "root/var/lib/dpkg"), 0o755),
		os.MkdirAll(filepath.Join(dir, "root/etc"), 0o755),
		os.WriteFile(filepath.Join(dir, "root/etc/hostname"), []byte("a\x1b[2Jb\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "root/var/lib/dpkg/status"),
			[]byte("Package: evil\x1b]0;title\x07\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	text, err := inspected(t, dir, "root")
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text, "\x1b\x07") || !strings.Contains(text, "evil?]0;title?") ||
		!strings.Contains(text, "a?[2Jb") {
		t.Errorf("got %q", text)
	}
}
