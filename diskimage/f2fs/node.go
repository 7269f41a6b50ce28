// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// node is a planned inode: first the fields from the tree, then those set by the planner.
type node struct {
	inode.Inode
	mtime  stamp
	xattrs []byte
	links  uint32
	parent *node
	dir    *directory // of a directory

	number uint32
	inline disk.InlineFlags // the content in the inode
	spans  []inode.Span     // blocks in the main area, except nodes
	addr   uint32           // of the inode
	first  uint32           // address of the first data block; the others follow
	extras []extra
}

// IsDir implements inode.Node.
func (n *node) IsDir() bool { return n.dir != nil }

// length returns i_size.
func (n *node) length() uint64 {
	switch n.Type() {
	case unix.S_IFREG:
		return uint64(n.Size)
	case unix.S_IFDIR:
		if n.dir.inline {
			return disk.InlineDataSize
		}
		return n.spans[len(n.spans)-1].End * disk.BlockSize
	case unix.S_IFLNK:
		return uint64(len(n.Target))
	}
	return 0
}

// inlineFlags returns what the inode contains of its own content. Empty files are inline, as in the
// kernel. Files that consist of a hole, or that a boot loader must find in blocks, are not.
func (n *node) inlineFlags() disk.InlineFlags {
	switch n.Type() {
	case unix.S_IFDIR:
		if n.dir.inline {
			return disk.InlineEntries
		}
	case unix.S_IFLNK:
		if len(n.Target) <= disk.InlineDataSize {
			return disk.InlineData | disk.DataExist
		}
	case unix.S_IFREG:
		switch {
		case n.Size == 0:
			return disk.InlineData
		case n.Size <= disk.InlineDataSize && !n.Dense && len(n.Spans()) > 0:
			return disk.InlineData | disk.DataExist
		}
	}
	return 0
}

// allSpans returns the blocks of a node in the main area, except nodes.
func (n *node) allSpans() []inode.Span {
	switch {
	case n.inline != 0:
		return nil
	case n.dir != nil:
		return n.dir.spans()
	case n.Type() == unix.S_IFLNK:
		return inode.AddSpan(nil, 0, 1)
	}
	return n.Spans()
}
