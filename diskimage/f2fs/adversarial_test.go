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
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/treetest"
)

// aclOf makes an access control list as getxattr(2) gives it, of tag, permissions and ID each.
func aclOf(entries ...[3]uint32) []byte {
	var list acl.List
	for _, e := range entries {
		list = append(list, acl.Entry{Tag: acl.Tag(e[0]), Perm: uint16(e[1]), ID: e[2]})
	}
	return list.Xattr()
}

// Blocks of a file where the nodes that point to them change: the inode's own, those of direct nodes, of the two indirect
// nodes, and of the double indirect one.
const (
	firstDirect   = disk.UsedInodeAddrs
	firstIndirect = firstDirect + slotIndirect*disk.NodeAddrs
	firstDouble   = firstIndirect + 2*perIndirect*disk.NodeAddrs
)

// adversarialTree has what is rare in a Debian tree, and much of it.
func adversarialTree() treetest.Tree {
	const none = 1<<32 - 1 // ID of entries of an access control list without one, as the kernel gives it
	tree := treetest.Tree{treetest.Dir(".")}

	acls := treetest.Dir("acl")
	acls.Xattrs = []diskimage.Xattr{{Name: "system.posix_acl_default", Value: aclOf(
		[3]uint32{1, 7, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 5, none}, [3]uint32{16, 7, none}, [3]uint32{32, 5, none})}}
	limited := treetest.File("acl/file", []byte("x"))
	limited.Mode = unix.S_IFREG | 0o664 // as the list has it
	limited.Xattrs = []diskimage.Xattr{
		{Name: "security.capability", Value: treetest.Capability},
		{Name: "system.posix_acl_access", Value: aclOf([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, none},
			[3]uint32{8, 4, 70000}, [3]uint32{16, 6, none}, [3]uint32{32, 4, none})},
		{Name: "user.empty", Value: []byte{}},
	}
	tree = append(tree, acls, limited)

	tree = append(tree, treetest.Dir("deep"))
	for name := "deep/d"; strings.Count(name, "/") < 60; name += "/d" {
		tree = append(tree, treetest.Dir(name))
	}

	first := treetest.File("links/0", treetest.Pattern(2, 100))
	tree = append(tree, treetest.Dir("links"), first)
	for i := range 100 {
		tree = append(tree, treetest.HardLink(fmt.Sprintf("links/%d", i+1), first))
	}

	tree = append(tree, treetest.ManyFiles("long", 400, 255)...)
	tree = append(tree, treetest.ManyFiles("many", 1500, 5)...)
	// The largest directory that is inline, and the smallest that is not.
	tree = append(tree, treetest.ManyFiles("slots 182", disk.InlineSlots-dotSlots, 8)...)
	tree = append(tree, treetest.ManyFiles("slots 183", disk.InlineSlots-dotSlots+1, 8)...)

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
	dense := treetest.Sparse("sparse/dense", 200*disk.BlockSize+1, 10, 0, 100*disk.BlockSize)
	dense.Dense = true
	small := treetest.File("sparse/dense and small", []byte("small"))
	small.Dense = true
	tree = append(tree, treetest.Dir("sparse"), dense, small,
		treetest.Sparse("sparse/edges", 1<<34, 2*disk.BlockSize, edges...), treetest.Sparse("sparse/hole", 1<<33, 0),
		treetest.Sparse("sparse/largest", maxBlocks*disk.BlockSize, 10, (maxBlocks-1)*disk.BlockSize),
		treetest.Sparse("sparse/many", 3000*disk.BlockSize, 4000, everySecond...),
		treetest.File("sparse/solid", treetest.Pattern(3, 5<<20)))

	tree = append(tree, treetest.Dir("time"))
	for i, seconds := range []int64{-1 << 40, -1 << 31, -1, 0, 1<<31 - 1, 1 << 31, 1<<32 + 5, 1 << 34, 1 << 40} {
		e := treetest.File(fmt.Sprintf("time/%d", i), nil)
		e.ModTime = time.Unix(seconds, int64(i)*111111111)
		tree = append(tree, e)
	}

	tree = append(tree, treetest.Dir("xattr"))
	// Around the room in the inode, and the most there can be.
	inInode := disk.InlineXattrSize - disk.XattrHeaderSize - disk.XattrEnd - disk.XattrEntrySize - len("a")
	most := disk.XattrRoom - disk.XattrHeaderSize - disk.XattrEnd - disk.XattrEntrySize - len("a")
	for _, size := range []int{inInode - 4, inInode, inInode + 1, inInode + 4, inInode + 5, 300, most} {
		e := treetest.File(fmt.Sprintf("xattr/%04d", size), []byte("beside it"))
		e.Xattrs = []diskimage.Xattr{{Name: "user.a", Value: treetest.Pattern(4, size)}}
		tree = append(tree, e)
	}
	several := treetest.Entry("xattr/several", unix.S_IFCHR|0o600)
	for i := range 60 {
		several.Xattrs = append(several.Xattrs, diskimage.Xattr{Name: fmt.Sprintf("trusted.%02d", i), Value: treetest.Pattern(5, i)})
	}
	link := treetest.Link("xattr/symlink", strings.Repeat("t", 70))
	link.Xattrs = []diskimage.Xattr{{Name: "trusted.link", Value: treetest.Pattern(6, 500)}}
	dir := treetest.Dir("xattr/xdir")
	dir.Xattrs = []diskimage.Xattr{{Name: "trusted.dir", Value: treetest.Pattern(6, 500)}}
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
			tree := append(treetest.Tree{treetest.Dir(".")}, treetest.ManyFiles("d", tt.files, tt.length)...)
			image := write(t, diskimage.GiB, tree)
			diskimagetest.Fsck(t, image)
			readBack(t, image, tree)
		})
	}
}

func TestManyDirectoriesInOne(t *testing.T) {
	t.Parallel()
	tree := treetest.Tree{treetest.Dir("."), treetest.Dir("d")}
	for i := range 3000 {
		tree = append(tree, treetest.Dir(path.Join("d", fmt.Sprint(i))))
	}
	image := write(t, 256*diskimage.MiB, tree)
	diskimagetest.Fsck(t, image)
	readBack(t, image, tree)
}
