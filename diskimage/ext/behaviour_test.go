// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"bytes"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// TestPromisesOfAFormatter is not parallel, see fstest.TestWriter.
func TestPromisesOfAFormatter(t *testing.T) {
	var writers []fstest.Writer
	for _, k := range kinds {
		fs := filesystem(k.fsType, k.generation)
		writers = append(writers, fstest.Writer{Name: k.String(), Formatter: Formatter{}, Filesystem: fs,
			Tree: smallTree(), Size: 16 * diskimage.MiB})
	}
	fs := filesystem("ext4", E2fsprogs147)
	fstest.TestWriter(t, append(writers, fstest.Writer{Name: "large", Formatter: Formatter{}, Filesystem: fs,
		Tree: adversarialTree(), Size: 64 * diskimage.MiB, Invalid: invalidTrees()})...)
}

func TestFileSystemCanGrowAndShrink(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			tree := smallTree()
			image := write(t, 200*diskimage.MiB, filesystem(k.fsType, k.generation), tree)
			for _, size := range []string{"3G", "150M"} {
				diskimagetest.Run(t, "resize2fs", "-f", image, size)
				fsckClean(t, image)
			}
			readBack(t, image, tree)
		})
	}
}

func TestTooLittleSpaceIsKnownBeforeWriting(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		size diskimage.Size
		fs   diskimage.Filesystem
		tree fstest.Tree
		want diskimage.NoSpaceError
	}{
		{
			"no block at all", 4095, filesystem("ext2", ""), smallTree(),
			diskimage.NoSpaceError{What: "blocks", Needed: 1, Available: 0, BlockSize: disk.BlockSize},
		},
		{
			"no room for metadata", 3 * disk.BlockSize, filesystem("ext2", ""), smallTree(),
			diskimage.NoSpaceError{What: "blocks", Needed: 1 + 1 + 2 + 1, Available: 3, BlockSize: disk.BlockSize},
		},
		{
			"no room for a journal", 4 * diskimage.MiB, filesystem("ext3", ""), smallTree(),
			diskimage.NoSpaceError{What: "blocks", Needed: 2048, Available: 1024, BlockSize: disk.BlockSize},
		},
		{ // 8 inode table blocks, 2 bitmaps, superblock and descriptors are fixed
			"no room for data", 2 * diskimage.MiB, filesystem("ext2", ""),
			fstest.Tree{fstest.Dir("."), fstest.File("a", fstest.Pattern(1, 12*disk.BlockSize)),
				fstest.File("b", fstest.Pattern(2, 2e6))},
			diskimage.NoSpaceError{
				What: "blocks", Needed: 1 + 1 + 4 + 12 + 489 + 1, Available: 512 - 12, BlockSize: disk.BlockSize,
			},
		},
		{
			"terabytes", 2 * diskimage.MiB, filesystem("ext4", ""),
			fstest.Tree{fstest.Dir("."), fstest.Sparse("a", 1<<43, 1<<20, 0), diskimage.Entry{
				Name: "b", Mode: unix.S_IFREG, Size: 1 << 43, Open: fstest.Content(bytes.NewReader(nil)),
			}},
			diskimage.NoSpaceError{What: "blocks", Needed: 1 + 1 + 4 + 256 + 1<<31, Available: 500,
				BlockSize: disk.BlockSize},
		},
		{
			"no inodes", 2 * diskimage.MiB, filesystem("ext2", ""),
			append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 200, 3)...),
			diskimage.NoSpaceError{What: "inodes", Needed: 11 + 1 + 200, Available: 128},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Formatter{}.Plan(tt.size, tt.fs, tt.tree)
			var noSpace *diskimage.NoSpaceError
			if !errors.As(err, &noSpace) {
				t.Fatalf("got %v, want a NoSpaceError", err)
			}
			if *noSpace != tt.want {
				t.Errorf("got %+v, want %+v", *noSpace, tt.want)
			}
		})
	}
}

func TestFileSystemCanBeFilledToTheLastBlock(t *testing.T) {
	t.Parallel()
	const size = 2 * diskimage.MiB
	tree := fstest.Tree{
		fstest.Dir("."), fstest.File("a", fstest.Pattern(1, 12*disk.BlockSize)),
		fstest.File("b", fstest.Pattern(2, (500-1-1-4-12-1)*disk.BlockSize)),
	}
	v, err := Formatter{}.Plan(size, filesystem("ext2", ""), tree)
	if err != nil {
		t.Fatal(err)
	}
	if free := v.(*volume).freeBlocks; free != 0 {
		t.Errorf("%d free blocks, want 0", free)
	}
	image := fstest.WriteVolume(t, size, v)
	fsckClean(t, image)
	readBack(t, image, tree)
}

func TestMinimumSizeIsEnoughAndNotMuchMore(t *testing.T) {
	t.Parallel()
	trees := map[string]fstest.Tree{
		"empty":       {fstest.Dir(".")},
		"adversarial": adversarialTree(),
		"many inodes": append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 5000, 10)...),
		"600 MB": {fstest.Dir("."),
			{Name: "a", Mode: unix.S_IFREG, Size: 600e6, Open: fstest.Content(bytes.NewReader(nil))}},
	}
	for name, tree := range trees {
		for _, k := range kinds {
			for _, free := range []diskimage.Size{0, 50 * diskimage.MiB} {
				fs := filesystem(k.fsType, k.generation)
				size, err := MinimumSize(fs, tree, free)
				if err != nil {
					t.Errorf("%s, %s: %v", name, k, err)
					continue
				}
				v, err := Formatter{}.Plan(size, fs, tree)
				if err != nil {
					t.Errorf("%s, %s: %s is not enough: %v", name, k, size, err)
					continue
				}
				got := v.(*volume)
				if left := (got.freeBlocks - got.reservedBlocks) * disk.BlockSize; left < uint64(free) {
					t.Errorf("%s, %s: %s leaves %d bytes, want %s", name, k, size, left, free)
				}
				smaller := size - 3*diskimage.MiB
				v, err = Formatter{}.Plan(smaller, fs, tree)
				if err == nil && smaller >= 8*diskimage.MiB && v.(*volume).freeBlocks*disk.BlockSize >=
					v.(*volume).reservedBlocks*disk.BlockSize+uint64(free) {
					t.Errorf("%s, %s: %s, but %s is enough", name, k, size, smaller)
				}
			}
		}
	}
}

func TestLostAndFoundOfTheTreeIsKept(t *testing.T) {
	t.Parallel()
	lost := fstest.Dir("lost+found")
	lost.Mode, lost.UID = unix.S_IFDIR|0o750, 12
	tree := fstest.Tree{fstest.Dir("."), lost, fstest.File("lost+found/#12", []byte("x"))}
	image := write(t, 8*diskimage.MiB, filesystem("ext4", "1.47"), tree)
	fsckClean(t, image)
	stat := debugfs(t, image, []string{"stat /lost+found"})[0]
	for _, want := range []string{"Inode: 11 ", "Mode:  0750", "User:    12", "Size: 16384"} {
		if !strings.Contains(stat, want) {
			t.Errorf("no %q in:\n%s", want, stat)
		}
	}
}

func TestNothingIsNeededOfTheFilesystemButItsType(t *testing.T) {
	t.Parallel()
	for _, fsType := range []string{"ext2", "ext3", "ext4"} {
		image := write(t, 16*diskimage.MiB, diskimage.Filesystem{Type: fsType}, adversarialDirectories())
		fsckClean(t, image)
	}
}

// adversarialDirectories returns a tree with an indexed directory.
func adversarialDirectories() fstest.Tree {
	return append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 500, 20)...)
}

func TestZeroBlocksAreNotWritten(t *testing.T) {
	t.Parallel()
	zeros := diskimage.Entry{Name: "zeros", Mode: unix.S_IFREG, Size: 100 << 20}
	zeros.Open = fstest.Content(zeroReader{})
	tree := fstest.Tree{fstest.Dir("."), zeros}
	image := write(t, 2*diskimage.GiB, filesystem("ext4", "1.44"), tree)
	var stat unix.Stat_t
	if err := unix.Stat(image, &stat); err != nil {
		t.Fatal(err)
	}
	if got := stat.Blocks * 512; got > 2<<20 {
		t.Errorf("%s: %d bytes on the disk, want less than 2 MiB", filepath.Base(image), got)
	}
}

type zeroReader struct{}

func (zeroReader) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// The order of writes is part of the contract: image formats that allocate clusters on the first
// write depend on it.
func TestWritesComeInTheOrderOfTheDisk(t *testing.T) {
	t.Parallel()
	tree := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 3000, 12)...)
	for i := range tree[2:] {
		tree[i+2] = fstest.File(tree[i+2].Name, fstest.Pattern(uint64(i), 5000))
	}
	v, err := Formatter{}.Plan(64*diskimage.MiB, filesystem("ext4", "1.44"), tree)
	if err != nil {
		t.Fatal(err)
	}
	var first []int64
	for range 3 {
		var r recorder
		if err := v.Write(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r.offsets
		}
		if !slices.Equal(r.offsets, first) {
			t.Error("a second run writes in a different order")
		}
	}
}

// recorder records the offsets of writes. It has no lock, so that the race detector notices
// concurrent writes.
type recorder struct{ offsets []int64 }

func (r *recorder) WriteAt(p []byte, offset int64) (int, error) {
	r.offsets = append(r.offsets, offset)
	return len(p), nil
}

func TestImmutableFileHasItsFlag(t *testing.T) {
	t.Parallel()
	const size = 64 * diskimage.MiB
	fixed := fstest.File("ldlinux.sys", fstest.Pattern(3, 60_000))
	fixed.Immutable = true
	for _, k := range kinds {
		v, err := Formatter{}.Plan(size, filesystem(k.fsType, k.generation),
			fstest.Tree{fstest.Dir("."), fixed, fstest.File("plain", nil)})
		if err != nil {
			t.Fatal(err)
		}
		image := fstest.WriteVolume(t, size, v)
		fsckClean(t, image)
		for i, output := range debugfs(t, image, []string{"stat /ldlinux.sys", "stat /plain"}) {
			m := regexp.MustCompile(`Flags: (0x[0-9a-f]+)`).FindStringSubmatch(output)
			if m == nil {
				t.Fatalf("%s: debugfs printed %q", k, output)
			}
			flags, err := strconv.ParseUint(m[1], 0, 32)
			if got := flags&0x10 != 0; err != nil || got != (i == 0) {
				t.Errorf("%s: file %d: flags %#x, %v", k, i, flags, err)
			}
		}
	}
}
