// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"io"
	"iter"
	"os"
	"time"
)

// Entry is one name in a Tree, with everything a file system can record of it.
type Entry struct {
	// Name is the slash-separated path relative to the root of the tree, without a leading slash; "." is the
	// root itself. It is a string of bytes: Debian trees hold names that are not UTF-8.
	Name string
	// Mode is st_mode of stat(2): the type (unix.S_IFREG, S_IFDIR, …) and the twelve permission bits.
	Mode uint32
	UID  uint32
	GID  uint32
	// ModTime is kept to the nanosecond.
	ModTime time.Time
	// Size is the length of a regular file in bytes; 0 for everything else.
	Size int64
	// Major and Minor are the numbers of a character or block device.
	Major, Minor uint32
	// Linkname is the text of a symbolic link.
	Linkname string
	// HardLink, if set, is the Name of an earlier Entry of which this is another name. The other fields then
	// repeat those of the earlier Entry; Open is nil.
	HardLink string
	// Xattrs are in the order of their names. Values have the form that getxattr(2) gives to root outside of
	// any user namespace: security.capability is version 2, POSIX ACLs have the xattr form (version 2 header).
	Xattrs []Xattr
	// Data lists the parts of a regular file that are not holes, in order, as far as the Tree knows;
	// nil means that all of it is data. A hole reads as zeros.
	Data []Extent
	// Dense asks for a file without holes, because a boot loader that cannot read them will read it.
	Dense bool
	// Immutable guards a regular file whose blocks a boot loader knows: on ext2, ext3 and ext4 nobody can change, move
	// or delete it (chattr(1), +i), on a FAT it is read-only, hidden and a system file.
	Immutable bool
	// Open returns the content of a regular file; nil if Size is 0. It may be called more than once and from
	// several goroutines; the caller closes what it gets.
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

// InFile is implemented by contents, and by what Volume.Write writes to, that are a part of an open file: byte 0 is at
// offset. Where both are, large files need not be copied on file systems that can share blocks. fd stays the
// implementer's and is valid until it is closed; it is negative if there is no file after all.
type InFile interface {
	InFile() (fd int, offset int64)
}

// FileOf returns the open file that x is, or is a part of (InFile).
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

// Tree is a directory tree to be written out.
type Tree interface {
	// Entries yields the root first, each directory before what is in it, and always in the same order for
	// the same tree (names of one directory in byte order). It may be called more than once. After an error
	// the sequence ends.
	Entries() iter.Seq2[Entry, error]
}
