// SPDX-License-Identifier: Apache-2.0

// Package inode holds what the file system writers share about inodes: what Linux allows in one,
// whatever the format, the blocks of a file, extended attributes, and the file types in directories.
package inode

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// Limits of Linux.
const (
	maxTargetLength = 4095      // of a symbolic link: the text and its final NUL share one page (PATH_MAX)
	maxMajor        = 1<<12 - 1 // include/linux/kdev_t.h
	maxMinor        = 1<<20 - 1
)

// Inode is the part of a tree entry that every format records, except times and extended attributes.
type Inode struct {
	Name      string // first name in the tree, for messages
	Mode      uint32 // st_mode
	UID       uint32
	GID       uint32
	Size      int64 // of a regular file
	Major     uint32
	Minor     uint32
	Target    string             // of a symbolic link
	Data      []diskimage.Extent // nil if all of the file is data
	Dense     bool               // holes become blocks of zeros
	Immutable bool
	Open      func() (diskimage.Content, error)
}

// New checks an entry and returns its inode. It rejects what Linux does not allow, and files of more
// than maxBlocks blocks, which fsType cannot hold.
func New(e *diskimage.Entry, fsType string, maxBlocks uint64) (Inode, error) {
	i := Inode{Name: e.Name, Mode: e.Mode, UID: e.UID, GID: e.GID}
	switch i.Type() {
	case unix.S_IFREG:
		if e.Size < 0 || Blocks(uint64(e.Size)) > maxBlocks {
			return Inode{}, fmt.Errorf("size of %d bytes: the maximum on %s is %d", e.Size, fsType,
				maxBlocks*blocks.Size)
		}
		i.Size, i.Data, i.Dense, i.Immutable, i.Open = e.Size, e.Data, e.Dense, e.Immutable, e.Open
	case unix.S_IFLNK:
		i.Target = e.Linkname
	case unix.S_IFCHR, unix.S_IFBLK:
		i.Major, i.Minor = e.Major, e.Minor
	}
	return i, check(e)
}

// check rejects what Linux does not allow: symbolic links whose target is empty or too long, device
// numbers that are too large, unknown types, and files whose extents or content contradict their size.
func check(e *diskimage.Entry) error {
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return checkContent(e)
	case unix.S_IFLNK:
		if n := len(e.Linkname); n == 0 || n > maxTargetLength || strings.ContainsRune(e.Linkname, 0) {
			return fmt.Errorf("symbolic link with a target of %d bytes: want 1 to %d bytes other than NUL", n,
				maxTargetLength)
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if e.Major > maxMajor || e.Minor > maxMinor {
			return fmt.Errorf("device %d:%d: the highest number on Linux is %d:%d", e.Major, e.Minor, maxMajor,
				maxMinor)
		}
	case unix.S_IFDIR, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fmt.Errorf("mode %#o has no known file type", e.Mode)
	}
	return nil
}

// checkContent checks the size, extents and content of a regular file against each other.
func checkContent(e *diskimage.Entry) error {
	var end int64
	for _, part := range e.Data {
		if part.Offset < end || part.Length < 0 || part.Length > e.Size-part.Offset {
			return fmt.Errorf("extent at %d of length %d: out of order, or outside of the %d bytes", part.Offset,
				part.Length, e.Size)
		}
		end = part.Offset + part.Length
	}
	if e.Open == nil && e.Size > 0 && (e.Data == nil || end > 0) {
		return fmt.Errorf("%d bytes without content", e.Size)
	}
	return nil
}

// Type returns the type bits of st_mode.
func (i *Inode) Type() uint32 { return i.Mode & unix.S_IFMT }

// EncodeDevice returns the two words in which an inode holds a device number: the first has the old
// form where it fits, else the second has the new one (old_encode_dev and new_encode_dev in
// include/linux/kdev_t.h).
func (i *Inode) EncodeDevice() (short, long uint32) {
	const shortLimit = 256
	if i.Major < shortLimit && i.Minor < shortLimit {
		return i.Major<<8 | i.Minor, 0
	}
	return 0, i.Minor&0xFF | i.Major<<8 | i.Minor&^0xFF<<12
}

// FileType converts the type bits of st_mode to the type in a directory entry (FT_REG_FILE and so on
// in include/linux/fs_types.h).
func FileType(mode uint32) uint8 {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	case unix.S_IFSOCK:
		return 6
	case unix.S_IFLNK:
		return 7
	}
	return 1 // a regular file
}
