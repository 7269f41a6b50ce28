// SPDX-License-Identifier: Apache-2.0

// Package inode has what the writers of file systems share about inodes: what Linux allows in one, whatever
// the format, and the types of files that directories name.
package inode

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Limits of Linux.
const (
	maxTargetLength = 4095      // of a symbolic link: it and its final NUL are in one page (PATH_MAX)
	maxMajor        = 1<<12 - 1 // include/linux/kdev_t.h
	maxMinor        = 1<<20 - 1
)

// Check finds what Linux does not allow: symbolic links without a text or with one that is too long, numbers
// of devices that are too large, unknown types, and files whose parts and content do not fit to their size.
// How large a file may be is the format's affair.
func Check(e *diskimage.Entry) error {
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return checkContent(e)
	case unix.S_IFLNK:
		if n := len(e.Linkname); n == 0 || n > maxTargetLength || strings.ContainsRune(e.Linkname, 0) {
			return fmt.Errorf("symbolic link with a text of %d bytes: 1 to %d other than NUL are possible", n,
				maxTargetLength)
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if e.Major > maxMajor || e.Minor > maxMinor {
			return fmt.Errorf("device %d:%d: Linux has numbers up to %d:%d", e.Major, e.Minor, maxMajor, maxMinor)
		}
	case unix.S_IFDIR, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fmt.Errorf("mode %#o has no known file type", e.Mode)
	}
	return nil
}

// checkContent checks size, data and content of a regular file against each other.
func checkContent(e *diskimage.Entry) error {
	var end int64
	for _, part := range e.Data {
		if part.Offset < end || part.Length < 0 || part.Length > e.Size-part.Offset {
			return fmt.Errorf("data at %d of length %d: out of order, or outside of the %d bytes", part.Offset,
				part.Length, e.Size)
		}
		end = part.Offset + part.Length
	}
	if e.Open == nil && e.Size > 0 && (e.Data == nil || end > 0) {
		return fmt.Errorf("%d bytes without a content", e.Size)
	}
	return nil
}

// FileType is the type in an entry of a directory for the type in st_mode (FT_REG_FILE and so on in
// include/linux/fs_types.h).
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
