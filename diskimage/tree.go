// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"io"
	"iter"
	"os"
	"time"
)

// Entry is one name in a Tree, with everything that a file system can record of it.
type Entry struct {
	// Name is the slash-separated path relative to the root of the tree, without a leading slash;
	// "." is the root itself. It is a string of bytes: Debian trees contain names that are not
	// UTF-8.
	Name string
	// Mode is st_mode of stat(2): the type (unix.S_IFREG, S_IFDIR, …) and the twelve permission bits.
	Mode uint32
	UID  uint32
	GID  uint32
	// ModTime has a resolution of nanoseconds.
	ModTime time.Time
	// Size is the length of a regular file in bytes; 0 for everything else.
	Size int64
	// Major and Minor are the numbers of a character or block device.
	Major, Minor uint32
	// Linkname is the target of a symbolic link.
	Linkname string
	// HardLink, if set, is the Name of the earlier Entry whose file also has this name. The other
	// fields are equal to those of the earlier Entry, except that Open is nil.
	HardLink string
	// Xattrs are sorted by name. Values have the form that getxattr(2) returns to root outside any
	// user namespace: security.capability is version 2, POSIX ACLs have the xattr form (version 2
	// header).
	Xattrs []Xattr
	// Data lists the ranges of a regular file that are not holes, in order, as far as the Tree
	// knows them; nil means that all of it is data. A hole reads as zeros.
	Data []Extent
	// Dense requests a file without holes, for a boot loader that cannot read them.
	Dense bool
	// Immutable protects a regular file whose blocks a boot loader knows: on ext2, ext3 and ext4 it
	// cannot be changed, moved or deleted (chattr(1), +i), on a FAT it is read-only, hidden and a
	// system file.
	Immutable bool
	// Open returns the content of a regular file; it is nil if Size is 0. It may be called more
	// than once and from several goroutines; the caller closes the content.
	Open func() (Content, error)
}

// Xattr is one extended attribute, with the prefix of its name ("security.capability").
type Xattr struct {
	Name  string
	Value []byte
}

// Extent is a run of bytes in a file or on a disk.
type Extent struct {
	Offset, Length int64
}

// Content is the content of one regular file.
type Content interface {
	io.ReaderAt
	io.Closer
}

// OnDisk is implemented by contents that were found in a file system: OnDisk returns where their
// bytes are in it, in the order of the file.
type OnDisk interface {
	OnDisk() []Extent
}

// InFile is implemented by contents, and by destinations of Volume.Write, that are part of an open
// file: byte 0 is at offset. If both implement it, large files need not be copied on file systems
// that can share blocks. fd remains owned by the implementation and is valid until that is closed;
// it is negative if there is no file.
type InFile interface {
	InFile() (fd int, offset int64)
}

// FileOf returns the open file that x is, or is part of (InFile).
func FileOf(x any) (fd int, offset int64, ok bool) {
	switch f := x.(type) {
	case *os.File:
		return int(f.Fd()), 0, true
	case InFile:
		fd, offset = f.InFile()
		return fd, offset, fd >= 0
	}
	return -1, 0, false
}

// Tree is a tree of files as the source of a file system.
type Tree interface {
	// Entries yields the root first, each directory before its content, and always in the same
	// order for the same tree (names of one directory in byte order). It may be called more than
	// once. The sequence ends after an error.
	Entries() iter.Seq2[Entry, error]
}
