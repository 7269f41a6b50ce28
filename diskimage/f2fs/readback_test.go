// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// readBack compares a file system with its source tree.
func readBack(t *testing.T, image string, tree fstest.Tree) {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := newReader(file)
	if err != nil {
		t.Fatal(err)
	}
	links, children, opens := map[string]uint32{}, map[string]int{}, map[string]func() (diskimage.Content, error){}
	for _, e := range tree {
		first := e.Name
		if e.HardLink != "" {
			first = e.HardLink
		}
		links[first]++
		opens[e.Name] = e.Open
		if e.IsDir() {
			links[e.Name]++
		}
		if e.Name != "." {
			children[path.Dir(e.Name)]++
			if e.IsDir() {
				links[path.Dir(e.Name)]++
			}
		}
	}
	for _, e := range tree {
		n, err := r.open(e.Name)
		if err != nil {
			t.Errorf("%q: %v", e.Name, err)
			continue
		}
		first := e.Name
		if e.HardLink != "" {
			first, e.Open = e.HardLink, opens[e.HardLink]
		}
		if got, want := describeInode(n), describe(e, links[first]); got != want {
			t.Errorf("%q: got  %s\nwant %s", e.Name, got, want)
		}
		if err := compareXattrs(n, e); err != nil {
			t.Errorf("%q: %v", e.Name, err)
		}
		switch {
		case e.IsDir():
			if names, err := n.list(); err != nil || len(names) != children[e.Name]+2 {
				t.Errorf("%q: %d names, want %d, %v", e.Name, len(names), children[e.Name]+2, err)
			}
		case e.IsRegular():
			if err := compareContent(n, e); err != nil {
				t.Errorf("%q: %v", e.Name, err)
			}
		case e.Linkname != "":
			target := make([]byte, len(e.Linkname))
			if _, err := n.ReadAt(target, 0); err != nil || string(target) != e.Linkname {
				t.Errorf("%q: target %.80q, want %.80q, %v", e.Name, target, e.Linkname, err)
			}
		}
	}
}

// describe formats an entry in the form of describeInode.
func describe(e diskimage.Entry, links uint32) string {
	mtime := newStamp(e.ModTime)
	text := fmt.Sprintf("mode %o owner %d:%d mtime %d.%09d links %d ", e.Mode, e.UID, e.GID, mtime.seconds,
		mtime.nanoseconds, links)
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		text += fmt.Sprintf("size %d immutable %t", e.Size, e.Immutable)
	case unix.S_IFLNK:
		text += fmt.Sprintf("size %d", len(e.Linkname))
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf("device %d:%d", e.Major, e.Minor)
	}
	return text
}

func describeInode(n *readInode) string {
	text := fmt.Sprintf("mode %o owner %d:%d mtime %d.%09d links %d ", n.Mode, n.UID, n.GID, int64(n.ModifyTime),
		n.ModifyNsec, n.Links)
	switch uint32(n.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		text += fmt.Sprintf("size %d immutable %t", n.Size, n.Flags&0x10 != 0)
	case unix.S_IFLNK:
		text += fmt.Sprintf("size %d", n.Size)
	case unix.S_IFCHR, unix.S_IFBLK:
		old, huge := binary.LittleEndian.Uint32(n.raw[360:]), binary.LittleEndian.Uint32(n.raw[364:])
		major, minor := old>>8&0xFF, old&0xFF
		if old == 0 {
			major, minor = huge>>8&0xFFF, huge&0xFF|huge>>12&0xFFF00
		}
		text += fmt.Sprintf("device %d:%d", major, minor)
	}
	return text
}

func compareXattrs(n *readInode, e diskimage.Entry) error {
	got, err := n.xattrs()
	if err != nil {
		return err
	}
	if len(got) != len(e.Xattrs) {
		return fmt.Errorf("extended attributes %q, want %d", got, len(e.Xattrs))
	}
	for _, x := range e.Xattrs {
		want := x.Value
		if list, err := acl.Parse(want); err == nil && acl.IsName(x.Name) {
			want = list.Disk()
		}
		if value, ok := got[x.Name]; !ok || value != string(want) {
			return fmt.Errorf("%s: got %x, want %x", x.Name, value, want)
		}
	}
	return nil
}

// compareContent compares the data and the holes of a file.
func compareContent(n *readInode, e diskimage.Entry) error {
	inNode := n.Inline&0x02 != 0
	if inNode && (e.Dense || e.Size > disk.InlineDataSize) {
		return errors.New("the content is in the inode")
	}
	parts := e.Data
	if parts == nil || e.Dense {
		parts = []diskimage.Extent{{Length: e.Size}}
	}
	var blocks uint64
	last := int64(-1)
	for _, part := range parts {
		if part.Length == 0 {
			continue
		}
		content, err := e.Open()
		if err != nil {
			return err
		}
		got, want := make([]byte, part.Length), make([]byte, part.Length)
		if _, err := content.ReadAt(want, part.Offset); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := n.ReadAt(got, part.Offset); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("the %d bytes at %d differ", part.Length, part.Offset)
		}
		for at := max(last+1, part.Offset/disk.BlockSize); at <= (part.Offset+part.Length-1)/disk.BlockSize &&
			!inNode; at++ {
			if addr, err := n.addr(uint64(at)); err != nil || addr == 0 {
				return fmt.Errorf("block %d is a hole, %w", at, err)
			}
			blocks++
			last = at
		}
	}
	if n.Blocks < 1+blocks || n.XattrNode == 0 && blocks == 0 && n.Blocks != 1 {
		return fmt.Errorf("%d blocks with nodes, %d of data", n.Blocks, blocks)
	}
	return nil
}

func TestSmallTreeIsReadBack(t *testing.T) {
	t.Parallel()
	for _, size := range []diskimage.Size{64 * diskimage.MiB, 100*diskimage.MiB + 5000, 300 * diskimage.MiB,
		5 * diskimage.GiB} {
		tree := smallTree()
		fixed := fstest.File("fixed", []byte("x"))
		fixed.Immutable = true
		tree = append(tree, fixed)
		image := write(t, size, tree)
		diskimagetest.Fsck(t, image)
		readBack(t, image, tree)
	}
}

func TestGRUBReadsWhatItBoots(t *testing.T) {
	t.Parallel()
	tree := append(fstest.Tree{fstest.Dir("."), fstest.Dir("boot")}, fstest.ManyFiles("boot/large", 1500, 30)...)
	tree = append(tree,
		fstest.File("boot/large/vmlinuz", fstest.Pattern(9, 9<<20+1)),
		fstest.File("boot/small", fstest.Pattern(8, 1000)),
		fstest.File("boot/initrd", fstest.Pattern(7, 40<<20)), fstest.Link("boot/link", "large/vmlinuz"),
		fstest.Sparse("boot/holes", 5<<20, 5000, 0, 4<<20))
	image := write(t, 256*diskimage.MiB, tree)
	for _, e := range tree {
		if !e.IsRegular() || e.Size == 0 {
			continue
		}
		source := filepath.Join(t.TempDir(), "source")
		if err := os.WriteFile(source, fstest.ReadContent(t, e), 0o600); err != nil {
			t.Fatal(err)
		}
		diskimagetest.Run(t, "grub-fstest", image, "cmp", "(loop0)/"+e.Name, source)
		if e.Name == "boot/large/vmlinuz" {
			diskimagetest.Run(t, "grub-fstest", image, "cmp", "(loop0)/boot/link", source)
		}
	}
}
