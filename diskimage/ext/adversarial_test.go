// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"path"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// adversarialTree returns much of what is rare in a Debian tree.
func adversarialTree() fstest.Tree {
	tree := fstest.Rare(0)
	var beyond []int64
	for _, block := range []int64{0, 11, 12, 1035, 1036, 1036 + 1<<20 - 1, 1036 + 1<<20, 1036 + 1<<20 + 1025} {
		beyond = append(beyond, block*disk.BlockSize) // the ends of all trees of indirect blocks
	}
	tree = append(tree, fstest.Sparse("sparse/beyond 4 GiB", 6<<30, 100, beyond...))
	tree = append(tree, fstest.Times(minSeconds, -1, 0, 1<<31-1, 1<<31, 1<<32+5, 1<<33, maxSeconds)...)
	for i := range 1100 { // more inodes than may share a block
		e := fstest.File(fmt.Sprintf("xattr/%04d", i), nil)
		e.Xattrs = []diskimage.Xattr{{Name: "user.shared", Value: fstest.Pattern(4, 301)}}
		tree = append(tree, e)
	}
	short := fstest.Link("xattr/tlink", "x")
	short.Xattrs = []diskimage.Xattr{{Name: "trusted.link", Value: fstest.Pattern(6, 500)}}
	return append(tree, short)
}

func TestAdversarialTreeIsReadBack(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			tree := adversarialTree()
			image := write(t, 300*diskimage.MiB, filesystem(k.fsType, k.generation), tree)
			fsckClean(t, image)
			readBack(t, image, tree)
		})
	}
}

// e2fsck compares the hash of each name with its place in the index. (TestKernelReadsWhatWasWritten
// checks that the kernel finds the names.)
func TestLargeDirectoriesHaveAnIndex(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files, length int
		twoLevels     bool
	}{{3_000, 250, false}, {8_000, 250, true}, {50_000, 12, false}} {
		tree := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", tt.files, tt.length)...)
		for _, k := range []kind{{"ext2", ""}, {"ext4", "1.44"}} {
			t.Run(fmt.Sprintf("%d names of %d bytes in %s", tt.files, tt.length, k), func(t *testing.T) {
				t.Parallel()
				const size = 2 * diskimage.GiB
				v, err := Formatter{}.Plan(size, filesystem(k.fsType, k.generation), tree)
				if err != nil {
					t.Fatal(err)
				}
				d := v.(*volume).byName["d"].dir
				if !d.hashed() || d.nodes > 0 != tt.twoLevels {
					t.Errorf("hashed %v, %d nodes: two levels are %v", d.hashed(), d.nodes, tt.twoLevels)
				}
				image := fstest.WriteVolume(t, size, v)
				fsckClean(t, image)
				if got := len(names(t, image)); got != len(tree)+1 {
					t.Errorf("%d names, want %d", got, len(tree)+1)
				}
			})
		}
	}
}

func TestNamesWithTheSameHashMayFillSeveralBlocks(t *testing.T) {
	t.Parallel()
	// No seed produces thousands of collisions: pack a directory with hashes made up for it.
	p, err := newParameters(filesystem("ext4", "1.44"))
	if err != nil {
		t.Fatal(err)
	}
	d := &directory{}
	for i := range 100 {
		d.entries = append(d.entries, dirEntry{name: fmt.Sprintf("%0250d", i), hash: 4})
	}
	d.packLeaves(p.dirRoom())
	if d.leafHash(0) != 4 {
		t.Errorf("first block: hash %d, want 4", d.leafHash(0))
	}
	for i := 1; i < len(d.leaves); i++ {
		if d.leafHash(i) != 5 {
			t.Errorf("block %d: hash %d, want 5: the lowest bit marks a continuation", i, d.leafHash(i))
		}
	}
}

func TestMoreThan65000SubdirectoriesNeedDirNlink(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes 256 MiB of directories")
	}
	tree := fstest.Tree{fstest.Dir("."), fstest.Dir("d")}
	for i := range maxLinks {
		tree = append(tree, fstest.Dir(path.Join("d", fmt.Sprint(i))))
	}
	if _, err := (Formatter{}).Plan(2*diskimage.GiB, filesystem("ext3", ""), tree); err == nil {
		t.Error("ext3: no error")
	}
	fsckClean(t, write(t, 2*diskimage.GiB, filesystem("ext4", "1.42"), tree))
}
