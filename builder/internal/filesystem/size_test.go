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

// largeTree returns a tree with 40 MiB of files.
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

// TestEstimateIsEnoughForMkfs runs the programs with the smallest estimate.
func TestEstimateIsEnoughForMkfs(t *testing.T) {
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

func TestEstimateGrowsWithContentAndFreeSpace(t *testing.T) {
	t.Parallel()
	for _, fstype := range []string{"btrfs", "xfs"} {
		f := diskimage.Filesystem{Type: fstype}
		empty, err := MinimumSize(f, diskimage.EmptyTree(time.Unix(0, 0)), 300*diskimage.MiB)
		if err != nil {
			t.Fatal(err)
		}
		full, err := MinimumSize(f, largeTree(t), 300*diskimage.MiB)
		if err != nil || full < empty+40*diskimage.MiB || empty < 300*diskimage.MiB {
			t.Errorf("%s: got %s with 40 MiB of files, %s without (%v)", fstype, full, empty, err)
		}
	}
	if _, err := MinimumSize(diskimage.Filesystem{Type: "vfat"}, largeTree(t), 0); err == nil {
		t.Error("vfat: got no error")
	}
}

// TestEstimateOfBtrfsIsEnoughForADirectory: mkfs.btrfs enlarges the file if it thinks that it is too small for the
// directory, even if it uses less.
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
		t.Errorf("got a file of %v bytes (%v), want the estimated %d", info.Size(), err, size)
	}
}
