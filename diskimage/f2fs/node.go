// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// node is one inode to be: what the tree says of it, then what the planner decides.
type node struct {
	name   string // the first of its names in the tree
	mode   uint32 // st_mode
	uid    uint32
	gid    uint32
	mtime  stamp
	size   int64 // of a regular file
	major  uint32
	minor  uint32
	target string // of a symbolic link
	data   []diskimage.Extent
	dense  bool
	fixed  bool // immutable
	open   func() (diskimage.Content, error)
	xattrs []byte
	links  uint32
	parent *node
	dir    *directory // of a directory

	number uint32
	inline disk.InlineFlags // what the inode holds of its own content
	spans  []span           // blocks in the main area, beside nodes
	addr   uint32           // of the inode
	first  uint32           // address of the first block of data; the others follow
	extras []extra
}

// IsDir implements inode.Node.
func (n *node) IsDir() bool { return n.dir != nil }

func (n *node) fileType() uint32 { return n.mode & unix.S_IFMT }

// length is i_size.
func (n *node) length() uint64 {
	switch n.fileType() {
	case unix.S_IFREG:
		return uint64(n.size)
	case unix.S_IFDIR:
		if n.dir.inline {
			return disk.InlineDataSize
		}
		return n.spans[len(n.spans)-1].end * disk.BlockSize
	case unix.S_IFLNK:
		return uint64(len(n.target))
	}
	return 0
}

// inlineFlags says what the inode is to hold of its own content. As in the kernel, empty files begin that
// way. A file that is one hole does not, and none that a boot loader must find as blocks.
func (n *node) inlineFlags() disk.InlineFlags {
	switch n.fileType() {
	case unix.S_IFDIR:
		if n.dir.inline {
			return disk.InlineEntries
		}
	case unix.S_IFLNK:
		if len(n.target) <= disk.InlineDataSize {
			return disk.InlineData | disk.DataExist
		}
	case unix.S_IFREG:
		switch {
		case n.size == 0:
			return disk.InlineData
		case n.size <= disk.InlineDataSize && !n.dense && len(n.fileSpans()) > 0:
			return disk.InlineData | disk.DataExist
		}
	}
	return 0
}

// span is a number of blocks of a file, from start up to end. Spans of a file are ascending and apart from each other.
type span struct {
	start, end uint64
	before     uint64 // number of blocks in the spans before
}

// addSpan appends a span that begins behind the start of the last one, and joins those that touch.
func addSpan(spans []span, start, end uint64) []span {
	if last := len(spans) - 1; last >= 0 && start <= spans[last].end {
		spans[last].end = max(end, spans[last].end)
		return spans
	}
	return append(spans, span{start, end, countBlocks(spans)})
}

// allSpans gives the blocks of a node in the main area, beside nodes.
func (n *node) allSpans() []span {
	switch {
	case n.inline != 0:
		return nil
	case n.dir != nil:
		return n.dir.spans()
	case n.fileType() == unix.S_IFLNK:
		return addSpan(nil, 0, 1)
	}
	return n.fileSpans()
}

// fileSpans gives the blocks of a regular file.
func (n *node) fileSpans() []span {
	if n.data == nil || n.dense {
		if n.size == 0 {
			return nil
		}
		return addSpan(nil, 0, blocksFor(uint64(n.size)))
	}
	var spans []span
	for _, part := range n.data {
		if part.Length > 0 {
			spans = addSpan(spans, uint64(part.Offset)/disk.BlockSize, blocksFor(uint64(part.Offset+part.Length)))
		}
	}
	return spans
}

// countBlocks is the number of blocks in spans.
func countBlocks(spans []span) uint64 {
	if len(spans) == 0 {
		return 0
	}
	last := spans[len(spans)-1]
	return last.before + last.end - last.start
}

// blocksFor is the number of blocks that hold so many bytes.
func blocksFor(bytes uint64) uint64 { return ceilDiv(bytes, disk.BlockSize) }
