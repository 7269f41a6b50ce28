// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// largeTree holds files of together 40 MiB.
func largeTree(t *testing.T) diskimage.Tree {
	t.Helper()
	var entries []diskimage.Entry
	when := time.Unix(1_700_000_000, 0)
	for _, name := range []string{"a", "b", "c", "d"} {
		entries = append(entries, diskimage.FileEntry(name, 0o644, []byte(strings.Repeat(name, 10<<20)), when))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(when), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestEstimatesAreAtLeastWhatMkfsAsksFor has the programs themselves make the least file system of the estimates.
func TestEstimatesAreAtLeastWhatMkfsAsksFor(t *testing.T) {
	t.Parallel()
	for fstype, program := range map[string][]string{
		"btrfs": {"mkfs.btrfs", "--quiet"}, "xfs": {"mkfs.xfs", "-q"},
	} {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			size, err := MinimumSize(diskimage.Filesystem{Type: fstype}, diskimage.EmptyTree(time.Unix(0, 0)), 0)
			if err != nil {
				t.Fatal(err)
			}
			diskimagetest.Run(t, program[0], append(program[1:], diskimagetest.SparseFile(t, int64(size)))...)
		})
	}
}

func TestEstimatesGrowWithContentAndFreeSpace(t *testing.T) {
	t.Parallel()
	for _, fstype := range []string{"btrfs", "xfs"} {
		f := diskimage.Filesystem{Type: fstype}
		empty, err := MinimumSize(f, diskimage.EmptyTree(time.Unix(0, 0)), 300*diskimage.MiB)
		if err != nil {
			t.Fatal(err)
		}
		full, err := MinimumSize(f, largeTree(t), 300*diskimage.MiB)
		if err != nil || full < empty+40*diskimage.MiB || empty < 300*diskimage.MiB {
			t.Errorf("%s: %s with 40 MiB, %s without (%v)", fstype, full, empty, err)
		}
	}
	if _, err := MinimumSize(diskimage.Filesystem{Type: "vfat"}, largeTree(t), 0); err == nil {
		t.Error("vfat: got no error")
	}
}

// mkfs.btrfs makes the file larger if it finds it too small for a directory, whatever it will use of it.
func TestEstimateOfBtrfsIsEnoughForADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 8000 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte("some text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	size, err := MinimumSize(diskimage.Filesystem{Type: "btrfs"}, diskimage.NewDirTree(dir), 0)
	if err != nil {
		t.Fatal(err)
	}
	image := diskimagetest.SparseFile(t, int64(size))
	diskimagetest.Run(t, "mkfs.btrfs", "--quiet", "--rootdir", dir, image)
	if info, err := os.Stat(image); err != nil || info.Size() != int64(size) {
		t.Errorf("estimated %d bytes: got %v, %v", size, info.Size(), err)
	}
}
