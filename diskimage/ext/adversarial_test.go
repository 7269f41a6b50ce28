// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
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

// adversarialTree has what is rare in a Debian tree, and much of it.
func adversarialTree() fstest.Tree {
	const none = 0 // ID of entries of an access control list without one, as debugfs gives it; the kernel gives 2^32-1
	tree := fstest.Tree{fstest.Dir(".")}

	acls := fstest.Dir("acl")
	acls.Xattrs = []diskimage.Xattr{{Name: "system.posix_acl_default", Value: aclOf(
		[3]uint32{1, 7, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 5, none}, [3]uint32{16, 7, none},
		[3]uint32{32, 5, none})}}
	limited := fstest.File("acl/file", []byte("x"))
	limited.Xattrs = []diskimage.Xattr{
		{Name: "security.capability", Value: fstest.Capability},
		{Name: "system.posix_acl_access", Value: aclOf([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000},
			[3]uint32{4, 4, none},
			[3]uint32{8, 4, 70000}, [3]uint32{16, 6, none}, [3]uint32{32, 4, none})},
		{Name: "user.empty", Value: nil},
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

	var everySecond, beyond []int64
	for i := range int64(1500) { // more than four leaves of extents
		everySecond = append(everySecond, 2*i*disk.BlockSize)
	}
	for _, block := range []int64{0, 11, 12, 1035, 1036, 1036 + 1<<20 - 1, 1036 + 1<<20, 1036 + 1<<20 + 1025} {
		beyond = append(beyond, block*disk.BlockSize) // the ends of all trees of indirect blocks
	}
	dense := fstest.Sparse("sparse/dense", 200*disk.BlockSize+1, 10, 0, 100*disk.BlockSize)
	dense.Dense = true
	tree = append(tree, fstest.Dir("sparse"),
		fstest.Sparse("sparse/beyond 4 GiB", 6<<30, 100, beyond...), dense, fstest.Sparse("sparse/hole", 1<<33, 0),
		fstest.Sparse("sparse/many", 3000*disk.BlockSize, 4000, everySecond...),
		fstest.File("sparse/solid", fstest.Pattern(3, 5<<20)))

	tree = append(tree, fstest.Dir("time"))
	for i, seconds := range []int64{minSeconds, -1, 0, 1<<31 - 1, 1 << 31, 1<<32 + 5, 1 << 33, maxSeconds} {
		e := fstest.File(fmt.Sprintf("time/%d", i), nil)
		e.ModTime = time.Unix(seconds, int64(i)*111111111)
		tree = append(tree, e)
	}

	tree = append(tree, fstest.Dir("xattr"))
	for i := range 1100 { // more inodes than may share a block
		e := fstest.File(fmt.Sprintf("xattr/%04d", i), nil)
		e.Xattrs = []diskimage.Xattr{{Name: "user.shared", Value: fstest.Pattern(4, 301)}}
		tree = append(tree, e)
	}
	several := fstest.Entry("xattr/several", unix.S_IFCHR|0o600)
	for i := range 60 {
		several.Xattrs = append(several.Xattrs, diskimage.Xattr{Name: fmt.Sprintf("trusted.%02d", i),
			Value: fstest.Pattern(5, i)})
	}
	link := fstest.Link("xattr/symlink", strings.Repeat("t", 70))
	link.Xattrs = []diskimage.Xattr{{Name: "trusted.link", Value: fstest.Pattern(6, 500)}}
	short := fstest.Link("xattr/tlink", "x")
	short.Xattrs = []diskimage.Xattr{{Name: "trusted.link", Value: fstest.Pattern(6, 500)}}
	return append(tree, several, link, short)
}

func TestAdversarialTreeIsReadBack(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			tree := adversarialTree()
			image := write(t, 300*diskimage.MiB, filesystem(k.fsType, k.release), tree)
			fsckClean(t, image)
			readBack(t, image, tree)
		})
	}
}

// e2fsck compares each name's hash with the place that the index gives it. (Whether the kernel finds the
// names is looked at by TestKernelReadsWhatWasWritten.)
func TestLargeDirectoriesHaveAnIndex(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files, length int
		twoLevels     bool
	}{{3_000, 250, false}, {8_000, 250, true}, {50_000, 12, false}} {
		tree := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", tt.files, tt.length)...)
		for _, k := range []kind{{"ext2", ""}, {"ext4", "1.44"}} {
			t.Run(fmt.Sprintf("%d names of %d bytes on %s", tt.files, tt.length, k), func(t *testing.T) {
				t.Parallel()
				const size = 2 * diskimage.GiB
				v, err := Formatter{}.Plan(size, filesystem(k.fsType, k.release), tree)
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
	// No seed gives thousands of collisions by itself: pack a directory that says so.
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
			t.Errorf("block %d: hash %d, want 5: the lowest bit says that it continues", i, d.leafHash(i))
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
