// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// putInode encodes an inode into dst, which is zero, with its inline content.
func (v *volume) putInode(dst []byte, n *node) error {
	_, base := inode.Split(n.Name)
	inode := disk.Inode{
		Mode:       uint16(n.Mode),
		Inline:     disk.InlineXattrs | n.inline,
		UID:        n.UID,
		GID:        n.GID,
		Links:      n.links,
		Size:       n.length(),
		Blocks:     1 + uint64(len(n.extras)) + inode.CountBlocks(n.spans),
		AccessTime: uint64(v.time.seconds),
		ChangeTime: uint64(v.time.seconds),
		ModifyTime: uint64(n.mtime.seconds),
		AccessNsec: v.time.nanoseconds,
		ChangeNsec: v.time.nanoseconds,
		ModifyNsec: n.mtime.nanoseconds,
	}
	if n != v.nodes[0] {
		inode.ParentInode, inode.NameLength = n.parent.number, uint32(len(base))
		copy(inode.Name[:], base)
	}
	if n.dir != nil {
		inode.Depth = n.dir.depth
	} else if n.links > 1 {
		inode.Advice |= disk.AdviceLostParent
	}
	if n.Immutable {
		inode.Flags |= disk.FlagImmutable
	}
	if last := len(n.extras) - 1; last >= 0 && n.extras[last].kind == xattrNode {
		inode.XattrNode = n.extras[last].number
	}
	inode.Put(dst)
	if err := v.putContent(dst, n); err != nil {
		return err
	}
	copy(dst[disk.InlineXattrOffset:disk.InodeNodesOffset], n.xattrs)
	for _, e := range n.extras {
		if e.kind != xattrNode && e.parent == parentInode {
			putAddr(dst[disk.InodeNodesOffset:], uint64(e.slot), e.number)
		}
	}
	v.putFooter(dst, n, n.number, 0, n.addr)
	return nil
}

// putContent encodes the addresses of an inode, or the content in their place.
func (v *volume) putContent(dst []byte, n *node) error {
	addrs, inline := dst[disk.InodeSize:], dst[disk.InlineOffset:][:disk.InlineDataSize]
	switch n.Type() {
	case unix.S_IFCHR, unix.S_IFBLK:
		short, long := n.EncodeDevice()
		putAddr(addrs, 0, short)
		putAddr(addrs, 1, long)
		return nil
	}
	switch {
	case n.inline == 0:
		n.putAddrs(addrs, 0, disk.UsedInodeAddrs)
	case n.inline&disk.InlineEntries != 0:
		n.dir.putInline(inline)
	case n.Type() == unix.S_IFLNK:
		copy(inline, n.Target)
	case n.Size > 0:
		return n.read(inline[:n.Size])
	}
	return nil
}

// read reads the content of an inline file.
func (n *node) read(dst []byte) (err error) {
	content, err := n.Open()
	if err != nil {
		return fmt.Errorf("open %q: %w", n.Name, err)
	}
	got, err := content.ReadAt(dst, 0)
	switch {
	case got == len(dst):
		err = nil
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("read %q: it ends at byte %d of %d; was it changed?", n.Name, got, n.Size)
	default:
		err = fmt.Errorf("read %q at byte 0: %w", n.Name, err)
	}
	if closing := content.Close(); closing != nil {
		err = errors.Join(err, fmt.Errorf("close %q: %w", n.Name, closing))
	}
	return err
}

// putExtra encodes a node other than the inode into dst, which is zero.
func (v *volume) putExtra(dst []byte, n *node, index int) {
	e := n.extras[index]
	switch e.kind {
	case directNode:
		n.putAddrs(dst, e.first, disk.NodeAddrs)
	case indirectNode:
		for _, child := range n.extras[index+1:] {
			if child.parent == int32(index) {
				putAddr(dst, uint64(child.slot), child.number)
			}
		}
	case xattrNode:
		copy(dst[:disk.XattrNodeSize], n.xattrs[min(disk.InlineXattrSize, len(n.xattrs)):])
	}
	v.putFooter(dst, n, e.number, e.offset, e.addr)
}

// putAddrs writes the addresses of count blocks of a file, beginning at first.
func (n *node) putAddrs(dst []byte, first, count uint64) {
	i, _ := slices.BinarySearchFunc(n.spans, first,
		func(s inode.Span, first uint64) int { return cmp.Compare(s.End, first+1) })
	for ; i < len(n.spans) && n.spans[i].Start < first+count; i++ {
		s := n.spans[i]
		for at := max(s.Start, first); at < min(s.End, first+count); at++ {
			putAddr(dst, at-first, n.first+uint32(s.Before+at-s.Start))
		}
	}
}

func putAddr(dst []byte, slot uint64, addr uint32) {
	binary.LittleEndian.PutUint32(dst[slot*disk.AddrSize:], addr)
}

// putFooter writes the footer of a node, without a checkpoint version. Nodes written after the
// checkpoint have its version, by which the kernel finds them after a crash.
func (v *volume) putFooter(dst []byte, n *node, number, offset, addr uint32) {
	flag := offset << disk.FooterOffsetShift
	if n.dir == nil {
		flag |= disk.FooterCold
	}
	disk.Footer{
		Node: number, Inode: n.number, Flag: flag, CheckpointVersion: v.version - 1, NextAddr: addr + 1,
	}.Put(dst)
}
