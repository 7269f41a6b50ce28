// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// Small returns a tree with one of everything that fits into 2 MiB: years up to the one given, and
// more entries in its directories "dev" and "etc".
func Small(lastYear int, more ...diskimage.Entry) Tree {
	hello := File("etc/hello", []byte("hello, world\n"))
	link := Link("etc/link", "hello")
	fifo := Entry("etc/fifo", unix.S_IFIFO|0o600)
	ping := File("etc/ping", Pattern(1, 3*blocks.Size+5))
	ping.Xattrs = []diskimage.Xattr{{Name: "security.capability", Value: Capability}}
	odd := File("etc/odd", nil)
	odd.Mode, odd.UID, odd.GID = unix.S_IFREG|0o7755, 1<<32-2, 70000
	odd.ModTime = time.Date(1905, 1, 2, 3, 4, 5, 6, time.UTC)
	late := File("etc/late", []byte{0})
	late.ModTime = time.Date(lastYear, 1, 2, 3, 4, 5, 999999999, time.UTC)
	tree := Tree{
		Dir("."), Dir("dev"), Device("dev/null", unix.S_IFCHR, 1, 3), Device("dev/large", unix.S_IFBLK, 300, 70000),
		Dir("etc"), fifo, HardLink("etc/fifo2", fifo), hello, HardLink("etc/hello2", hello), late, link,
		HardLink("etc/link2", link), Link("etc/long", strings.Repeat("x/", 2047)+"y"), odd, ping,
		Entry("etc/socket", unix.S_IFSOCK|0o755), File("etc/zeros", make([]byte, 3*blocks.Size)),
		File("etc/\xff\xfe not UTF-8\n", []byte("x")), Sparse("hole", 300000, 5000, 8192, 100001),
	}
	return append(tree, more...)
}

// ACL encodes an access control list as getxattr(2) returns it. Each entry is a tag, permissions and an ID.
func ACL(entries ...[3]uint32) []byte {
	var list acl.List
	for _, e := range entries {
		list = append(list, acl.Entry{Tag: acl.Tag(e[0]), Perm: uint16(e[1]), ID: e[2]})
	}
	return list.Xattr()
}

// Rare returns a tree with much of what is rare in a Debian tree. noID is the ID of the entries of an
// access control list that have none, as the reader returns it: 0 for debugfs(8), 2^32-1 for the kernel.
// There are directories "sparse", "time" and "xattr" for entries of the format.
func Rare(noID uint32) Tree {
	tree := Tree{Dir(".")}

	acls := Dir("acl")
	acls.Xattrs = []diskimage.Xattr{{Name: acl.Default, Value: ACL(
		[3]uint32{1, 7, noID}, [3]uint32{2, 7, 1000}, [3]uint32{4, 5, noID}, [3]uint32{16, 7, noID},
		[3]uint32{32, 5, noID})}}
	limited := File("acl/file", []byte("x"))
	limited.Mode = unix.S_IFREG | 0o664 // as in the list
	limited.Xattrs = []diskimage.Xattr{
		{Name: "security.capability", Value: Capability},
		{Name: acl.Access, Value: ACL([3]uint32{1, 6, noID}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, noID},
			[3]uint32{8, 4, 70000}, [3]uint32{16, 6, noID}, [3]uint32{32, 4, noID})},
		{Name: "user.empty", Value: []byte{}},
	}
	tree = append(tree, acls, limited, Dir("deep"))

	for name := "deep/d"; strings.Count(name, "/") < 60; name += "/d" {
		tree = append(tree, Dir(name))
	}
	first := File("links/0", Pattern(2, 100))
	tree = append(tree, Dir("links"), first)
	for i := range 100 {
		tree = append(tree, HardLink(fmt.Sprintf("links/%d", i+1), first))
	}
	tree = append(tree, ManyFiles("long", 400, 255)...)
	tree = append(tree, ManyFiles("many", 1500, 5)...)

	var everySecond []int64
	for i := range int64(1500) {
		everySecond = append(everySecond, 2*i*blocks.Size)
	}
	dense := Sparse("sparse/dense", 200*blocks.Size+1, 10, 0, 100*blocks.Size)
	dense.Dense = true
	tree = append(tree, Dir("sparse"), dense, Sparse("sparse/hole", 1<<33, 0),
		Sparse("sparse/many", 3000*blocks.Size, 4000, everySecond...), File("sparse/solid", Pattern(3, 5<<20)),
		Dir("time"), Dir("xattr"))

	several := Entry("xattr/several", unix.S_IFCHR|0o600)
	for i := range 60 {
		several.Xattrs = append(several.Xattrs, diskimage.Xattr{Name: fmt.Sprintf("trusted.%02d", i),
			Value: Pattern(5, i)})
	}
	link := Link("xattr/symlink", strings.Repeat("t", 70))
	link.Xattrs = []diskimage.Xattr{{Name: "trusted.link", Value: Pattern(6, 500)}}
	return append(tree, several, link)
}

// Times returns empty files in the directory "time", with modification times in seconds since 1970.
func Times(seconds ...int64) Tree {
	var tree Tree
	for i, s := range seconds {
		e := File(fmt.Sprintf("time/%d", i), nil)
		e.ModTime = time.Unix(s, int64(i)*111111111)
		tree = append(tree, e)
	}
	return tree
}

// Mixed returns a tree with what most file systems that mkfs programs make can hold: small, large, compressible and
// sparse files, hard links, owners, devices, capabilities, attributes, odd names and a large directory.
func Mixed() Tree {
	tree := Small(2100)
	attributes := File("attributes", Pattern(4, 10))
	attributes.Xattrs = []diskimage.Xattr{{Name: "user.empty", Value: []byte{}},
		{Name: "user.long", Value: Pattern(5, 500)}, {Name: "user.shared", Value: []byte("value of several files")}}
	shared := Dir("shared")
	shared.Xattrs = attributes.Xattrs[2:]
	tree = append(tree, attributes, shared, Dir("deep"))
	for name := "deep/d"; strings.Count(name, "/") < 20; name += "/d" {
		tree = append(tree, Dir(name))
	}
	tree = append(tree, ManyFiles("long", 100, 254)...) // mkfs.erofs 1.5 does not find names of 255 bytes
	tree = append(tree, ManyFiles("many", 1500, 12)...)
	text := strings.Repeat("All human beings are born free and equal in dignity and rights. ", 1<<15)
	for i := range 40 {
		tree = append(tree, File(fmt.Sprintf("shared/%d", i), []byte(text[:i*i*97])))
	}
	return append(tree, File("text", []byte(text[:700_001])), File("random", Pattern(6, 1<<20+1)),
		File("half", append(Pattern(7, 300_001), text[:200_003]...)), Sparse("sparse", 9<<20, 300_000, 0, 6<<20+5))
}
