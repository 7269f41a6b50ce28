// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"
	"path"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// The first blocks of a file that direct nodes of the inode, of its two indirect nodes, and of its
// double indirect node point to.
const (
	firstDirect   = disk.UsedInodeAddrs
	firstIndirect = firstDirect + slotIndirect*disk.NodeAddrs
	firstDouble   = firstIndirect + 2*perIndirect*disk.NodeAddrs
)

// adversarialTree returns much of what is rare in a Debian tree.
func adversarialTree() fstest.Tree {
	tree := fstest.Rare(1<<32 - 1)
	// The largest directory that is inline, and the smallest that is not.
	tree = append(tree, fstest.ManyFiles("slots 182", disk.InlineSlots-dotSlots, 8)...)
	tree = append(tree, fstest.ManyFiles("slots 183", disk.InlineSlots-dotSlots+1, 8)...)

	var edges []int64
	for _, block := range []int64{
		firstDirect, firstDirect + disk.NodeAddrs, firstIndirect, firstIndirect + disk.NodeAddrs,
		firstIndirect + perIndirect*disk.NodeAddrs, firstDouble, firstDouble + disk.NodeAddrs,
		firstDouble + perIndirect*disk.NodeAddrs,
	} {
		edges = append(edges, (block-1)*disk.BlockSize)
	}
	small := fstest.File("sparse/dense and small", []byte("small"))
	small.Dense = true
	tree = append(tree, small, fstest.Sparse("sparse/edges", 1<<34, 2*disk.BlockSize, edges...),
		fstest.Sparse("sparse/largest", maxBlocks*disk.BlockSize, 10, (maxBlocks-1)*disk.BlockSize))
	tree = append(tree, fstest.Times(-1<<40, -1<<31, -1, 0, 1<<31-1, 1<<31, 1<<32+5, 1<<34, 1<<40)...)

	// Around the room in the inode, and the largest possible.
	inInode := disk.InlineXattrSize - disk.XattrHeaderSize - disk.XattrEnd - disk.XattrEntrySize - len("a")
	most := disk.XattrRoom - disk.XattrHeaderSize - disk.XattrEnd - disk.XattrEntrySize - len("a")
	for _, size := range []int{inInode - 4, inInode, inInode + 1, inInode + 4, inInode + 5, 300, most} {
		e := fstest.File(fmt.Sprintf("xattr/%04d", size), []byte("beside it"))
		e.Xattrs = []diskimage.Xattr{{Name: "user.a", Value: fstest.Pattern(4, size)}}
		tree = append(tree, e)
	}
	dir := fstest.Dir("xattr/xdir")
	dir.Xattrs = []diskimage.Xattr{{Name: "trusted.dir", Value: fstest.Pattern(6, 500)}}
	return append(tree, dir)
}

func TestAdversarialTreeIsReadBack(t *testing.T) {
	t.Parallel()
	tree := append(adversarialTree(), smallTree()[1:]...)
	image := write(t, 512*diskimage.MiB, tree)
	diskimagetest.Fsck(t, image)
	readBack(t, image, tree)
}

func TestLargeDirectoriesAreReadBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ files, length int }{{50_000, 12}, {8_000, 250}} {
		t.Run(fmt.Sprintf("%d names of %d bytes", tt.files, tt.length), func(t *testing.T) {
			t.Parallel()
			tree := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", tt.files, tt.length)...)
			image := write(t, diskimage.GiB, tree)
			diskimagetest.Fsck(t, image)
			readBack(t, image, tree)
		})
	}
}

func TestManyDirectoriesInOne(t *testing.T) {
	t.Parallel()
	tree := fstest.Tree{fstest.Dir("."), fstest.Dir("d")}
	for i := range 3000 {
		tree = append(tree, fstest.Dir(path.Join("d", fmt.Sprint(i))))
	}
	image := write(t, 256*diskimage.MiB, tree)
	diskimagetest.Fsck(t, image)
	readBack(t, image, tree)
}
