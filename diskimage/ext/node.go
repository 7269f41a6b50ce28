// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// node is one inode to be: what the tree says of it, then what the planner decides.
type node struct {
	name   string // the first of its names in the tree, for messages and Extents
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
	links  int

	number uint32
	dir    *directory // of a directory
	inline []byte     // extended attributes behind the inode
	shared *xattrBlock

	mapping mapping
}

// IsDir implements inode.Node.
func (n *node) IsDir() bool { return n.dir != nil }

func (n *node) fileType() uint32 { return n.mode & unix.S_IFMT }

// isFast reports whether a symbolic link is kept in its inode.
func (n *node) isFast() bool {
	return n.fileType() == unix.S_IFLNK && len(n.target) < disk.BlockField
}

// length is i_size.
func (n *node) length() uint64 {
	switch n.fileType() {
	case unix.S_IFREG:
		return uint64(n.size)
	case unix.S_IFDIR:
		return uint64(n.dir.blocks()) * disk.BlockSize
	case unix.S_IFLNK:
		return uint64(len(n.target))
	}
	return 0
}

// spans gives the blocks of a node that hold something, in units of blocks from the start of the file: ascending and
// apart from each other.
func (n *node) spans() []span {
	blocks := blocksFor(n.length())
	switch {
	case blocks == 0 || n.isFast():
		return nil
	case n.fileType() != unix.S_IFREG || n.data == nil || n.dense:
		return []span{{0, blocks}}
	}
	var spans []span
	for _, part := range n.data {
		if part.Length == 0 {
			continue
		}
		s := span{uint64(part.Offset) / disk.BlockSize, blocksFor(uint64(part.Offset + part.Length))}
		if last := len(spans) - 1; last >= 0 && s.start <= spans[last].end {
			spans[last].end = s.end
		} else {
			spans = append(spans, s)
		}
	}
	return spans
}

// blocksFor is the number of blocks that hold so many bytes.
func blocksFor(bytes uint64) uint64 { return (bytes + disk.BlockSize - 1) / disk.BlockSize }

// stamp is a time as an inode keeps it: 34 bits of seconds and 30 of nanoseconds.
type stamp struct {
	seconds     int64
	nanoseconds uint32
}

// Ends of the time that an inode can hold: 1901-12-13 to 2446-05-10 (fs/ext4/ext4.h, EXT4_EXTRA_TIMESTAMP_MAX).
const (
	minSeconds = -1 << 31
	maxSeconds = 1<<34 - 1<<31 - 1
)

// newStamp converts a time; one that an inode cannot hold becomes the nearest that it can, as in the kernel.
// The zero time.Time, which means "not known", becomes 1970.
func newStamp(t time.Time) stamp {
	if t.IsZero() {
		return stamp{}
	}
	switch s := t.Unix(); {
	case s < minSeconds:
		return stamp{seconds: minSeconds}
	case s > maxSeconds:
		return stamp{seconds: maxSeconds}
	}
	return stamp{t.Unix(), uint32(t.Nanosecond())}
}

// encode gives the two fields of an inode: the low 32 bits of the seconds, and nanoseconds with the epoch. Seconds of
// the old field are signed, and so the epoch counts from the difference (ext4_encode_extra_time).
func (s stamp) encode() (low, extra uint32) {
	epoch := uint32((s.seconds-int64(int32(s.seconds)))>>32) & 3
	return uint32(s.seconds), epoch | s.nanoseconds<<2
}
