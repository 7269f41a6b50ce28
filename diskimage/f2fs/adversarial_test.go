// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// aclOf makes an access control list as getxattr(2) gives it, of tag, permissions and ID each.
func aclOf(entries ...[3]uint32) []byte {
	var list acl.List
	for _, e := range entries {
		list = append(list, acl.Entry{Tag: acl.Tag(e[0]), Perm: uint16(e[1]), ID: e[2]})
	}
	return list.Xattr()
}

// Blocks of a file where the nodes that point to them change: the inode's own, those of direct nodes, of the
// two indirect nodes, and of the double indirect one.
const (
	firstDirect   = disk.UsedInodeAddrs
	firstIndirect = firstDirect + slotIndirect*disk.NodeAddrs
	firstDouble   = firstIndirect + 2*perIndirect*disk.NodeAddrs
)

// adversarialTree has what is rare in a Debian tree, and much of it.
func adversarialTree() fstest.Tree {
	const none = 1<<32 - 1 // ID of entries of an access control list without one, as the kernel gives it
	tree := fstest.Tree{fstest.Dir(".")}

	acls := fstest.Dir("acl")
	acls.Xattrs = []diskimage.Xattr{{Name: "system.posix_acl_default", Value: aclOf(
		[3]uint32{1, 7, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 5, none}, [3]uint32{16, 7, none},
		[3]uint32{32, 5, none})}}
	limited := fstest.File("acl/file", []byte("x"))
	limited.Mode = unix.S_IFREG | 0o664 // as the list has it
	limited.Xattrs = []diskimage.Xattr{
		{Name: "security.capability", Value: fstest.Capability},
		{Name: "system.posix_acl_access", Value: aclOf([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000},
			[3]uint32{4, 4, none},
			[3]uint32{8, 4, 70000}, [3]uint32{16, 6, none}, [3]uint32{32, 4, none})},
		{Name: "user.empty", Value: []byte{}},
	}
	tree = append(tree, acls, limited)

	tree = append(tree, fstest.Dir("deep"))
	for name := "deep/d"; strings.Count(name, "/") < 60; name += "/d" {
		tree = append(tree, fstest.Dir(name))
	}

	first := fstest.File("links/0", fstest.Pattern(2, 100))
	tree = append(tree, fstest.Dir("links"), first)
	for i := range 100 {
		tree = append(tree, fstest.HardLink(fmt.Sprintf("links/%d", i+1), first))
	}

	tree = append(tree, fstest.ManyFiles("long", 400, 255)...)
	tree = append(tree, fstest.ManyFiles("many", 1500, 5)...)
	// The largest directory that is inline, and the smallest that is not.
	tree = append(tree, fstest.ManyFiles("slots 182", disk.InlineSlots-dotSlots, 8)...)
	tree = append(tree, fstest.ManyFiles("slots 183", disk.InlineSlots-dotSlots+1, 8)...)

	var everySecond, edges []int64
	for i := range int64(1500) {
		everySecond = append(everySecond, 2*i*disk.BlockSize)
	}
	for _, block := range []int64{
		firstDirect, firstDirect + disk.NodeAddrs, firstIndirect, firstIndirect + disk.NodeAddrs,
		firstIndirect + perIndirect*disk.NodeAddrs, firstDouble, firstDouble + disk.NodeAddrs,
		firstDouble + perIndirect*disk.NodeAddrs,
	} {
		edges = append(edges, (block-1)*disk.BlockSize)
	}
	dense := fstest.Sparse("sparse/dense", 200*disk.BlockSize+1, 10, 0, 100*disk.BlockSize)
	dense.Dense = true
	small := fstest.File("sparse/dense and small", []byte("small"))
	small.Dense = true
	tree = append(tree, fstest.Dir("sparse"), dense, small,
		fstest.Sparse("sparse/edges", 1<<34, 2*disk.BlockSize, edges...), fstest.Sparse("sparse/hole", 1<<33, 0),
		fstest.Sparse("sparse/largest", maxBlocks*disk.BlockSize, 10, (maxBlocks-1)*disk.BlockSize),
		fstest.Sparse("sparse/many", 3000*disk.BlockSize, 4000, everySecond...),
		fstest.File("sparse/solid", fstest.Pattern(3, 5<<20)))

	tree = append(tree, fstest.Dir("time"))
	for i, seconds := range []int64{-1 << 40, -1 << 31, -1, 0, 1<<31 - 1, 1 << 31, 1<<32 + 5, 1 << 34, 1 << 40} {
		e := fstest.File(fmt.Sprintf("time/%d", i), nil)
		e.ModTime = time.Unix(seconds, int64(i)*111111111)
		tree = append(tree, e)
	}

	tree = append(tree, fstest.Dir("xattr"))
	// Around the room in the inode, and the most there can be.
	inInode := disk.InlineXattrSize - disk.XattrHeaderSize - disk.XattrEnd - disk.XattrEntrySize - len("a")
	most := disk.XattrRoom - disk.XattrHeaderSize - disk.XattrEnd - disk.XattrEntrySize - len("a")
	for _, size := range []int{inInode - 4, inInode, inInode + 1, inInode + 4, inInode + 5, 300, most} {
		e := fstest.File(fmt.Sprintf("xattr/%04d", size), []byte("beside it"))
		e.Xattrs = []diskimage.Xattr{{Name: "user.a", Value: fstest.Pattern(4, size)}}
		tree = append(tree, e)
	}
	several := fstest.Entry("xattr/several", unix.S_IFCHR|0o600)
	for i := range 60 {
		several.Xattrs = append(several.Xattrs, diskimage.Xattr{Name: fmt.Sprintf("trusted.%02d", i),
			Value: fstest.Pattern(5, i)})
	}
	link := fstest.Link("xattr/symlink", strings.Repeat("t", 70))
	link.Xattrs = []diskimage.Xattr{{Name: "trusted.link", Value: fstest.Pattern(6, 500)}}
	dir := fstest.Dir("xattr/xdir")
	dir.Xattrs = []diskimage.Xattr{{Name: "trusted.dir", Value: fstest.Pattern(6, 500)}}
	return append(tree, several, link, dir)
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
