// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// node is a planned inode: first the fields from the tree, then those set by the planner.
type node struct {
	inode.Inode
	mtime stamp
	links int

	number uint32
	dir    *directory // of a directory
	inline []byte     // extended attributes after the inode
	shared *xattrBlock

	mapping mapping
}

// IsDir implements inode.Node.
func (n *node) IsDir() bool { return n.dir != nil }

// isFast reports whether a symbolic link is kept in its inode.
func (n *node) isFast() bool {
	return n.Type() == unix.S_IFLNK && len(n.Target) < disk.BlockField
}

// length returns i_size.
func (n *node) length() uint64 {
	switch n.Type() {
	case unix.S_IFREG:
		return uint64(n.Size)
	case unix.S_IFDIR:
		return uint64(n.dir.blocks()) * disk.BlockSize
	case unix.S_IFLNK:
		return uint64(len(n.Target))
	}
	return 0
}

// spans returns the blocks of a node that are not holes.
func (n *node) spans() []inode.Span {
	switch {
	case n.isFast():
		return nil
	case n.Type() == unix.S_IFREG:
		return n.Spans()
	}
	return inode.AddSpan(nil, 0, inode.Blocks(n.length()))
}

// stamp is a time in the form of an inode: 34 bits of seconds and 30 bits of nanoseconds.
type stamp struct {
	seconds     int64
	nanoseconds uint32
}

// Ends of the time that an inode can hold: 1901-12-13 to 2446-05-10 (fs/ext4/ext4.h, EXT4_EXTRA_TIMESTAMP_MAX).
const (
	minSeconds = -1 << 31
	maxSeconds = 1<<34 - 1<<31 - 1
)

// newStamp converts a time, clamped to the range of an inode as in the kernel. The zero time.Time,
// which means "unknown", becomes 1970.
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

// encode returns the two fields of an inode: the low 32 bits of the seconds, and the nanoseconds
// with the epoch. The low field is signed, so the epoch is that of the difference
// (ext4_encode_extra_time).
func (s stamp) encode() (low, extra uint32) {
	epoch := uint32((s.seconds-int64(int32(s.seconds)))>>32) & 3
	return uint32(s.seconds), epoch | s.nanoseconds<<2
}
