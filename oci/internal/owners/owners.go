// SPDX-License-Identifier: Apache-2.0

// Package owners reads and writes the owners of files where a user namespace has a single id: every file then
// really belongs to that one, and the owner that it should have is kept in an extended attribute, the format
// of which is package diskimage/ownerxattr. Read and ReadFD return an owner, Write and Chown set one.
//
// Package supervise shows these owners to programs in containers; package oci to its callers.
package owners

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
)

// Where a user namespace has a single id, every file really belongs to that, and whose it should be is a note
// in an extended attribute. Programs in containers see it and write it as if it were so, see package
// supervise. What is not noted belongs to 0:0.
//
// Package ownerxattr has the form of the notes. The kernel carries them along when a file is moved, gets
// another name, or is copied from a lower layer of an overlay.

// Owner is whose a file is.
type Owner struct{ UID, GID uint32 }

// Root owns what has no note.
var Root = Owner{}

// NoID leaves an id as it is, in chown(2) and its like.
const NoID = ^uint32(0)

// Merged is the owner after a chown(2) to other.
func (o Owner) Merged(other Owner) Owner {
	if other.UID != NoID {
		o.UID = other.UID
	}
	if other.GID != NoID {
		o.GID = other.GID
	}
	return o
}

// Read reads the note of a file.
func Read(path string, mode uint32) (Owner, error) {
	return readOwner(mode, func(name string, value []byte) (int, error) { return unix.Lgetxattr(path, name, value) })
}

// ReadFD reads the note of an open file; O_PATH suffices.
func ReadFD(fd int, mode uint32) (Owner, error) {
	return readOwner(mode,
		func(name string, value []byte) (int, error) { return unix.Getxattr(dirfd.ProcPath(fd), name, value) })
}

func readOwner(mode uint32, get func(string, []byte) (int, error)) (Owner, error) {
	var buf [64]byte
	n, err := get(ownerxattr.NameFor(mode), buf[:])
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return Root, nil
	}
	if err != nil {
		return Owner{}, fmt.Errorf("read the owner: %w", err)
	}
	o, err := ownerxattr.Parse(mode, buf[:n])
	if err != nil {
		return Owner{}, fmt.Errorf("read the owner: %w", err)
	}
	return Owner{UID: o.UID, GID: o.GID}, nil
}

// Xattr is the name and the value of a note.
func (o Owner) Xattr(mode uint32) (name string, value []byte) {
	return ownerxattr.Owner{UID: o.UID, GID: o.GID}.Xattr(mode)
}

// Write writes the note of an open file.
func Write(fd int, mode uint32, o Owner) error {
	path := dirfd.ProcPath(fd)
	name, value := o.Xattr(mode)
	var err error
	if o == Root {
		if err = unix.Removexattr(path, name); errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
	} else {
		err = unix.Setxattr(path, name, value, 0)
	}
	if err != nil {
		return fmt.Errorf("note the owner %d:%d: %w", o.UID, o.GID, err)
	}
	return nil
}

// Chown gives an open file (O_PATH suffices) to an owner where there is a single id. The kernel does what
// else comes with that: it looks whether it is allowed, takes away what must not survive, such as the setuid
// bit, and sets the time.
func Chown(fd int, to Owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	before, err := ReadFD(fd, st.Mode)
	if err != nil {
		return &LostError{Err: err}
	}
	real := func(id uint32) int {
		if id == NoID {
			return -1
		}
		return 0
	}
	if err := unix.Fchownat(fd, "", real(to.UID), real(to.GID), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	after := before.Merged(to)
	if after == before && ownerxattr.HoldsUserXattrs(st.Mode) {
		return nil
	}
	if err := Write(fd, st.Mode, after); err != nil {
		return &LostError{Err: err}
	}
	return nil
}

// LostError says that nobody will know whose a file is.
type LostError struct{ Err error }

func (e *LostError) Error() string { return e.Err.Error() }
func (e *LostError) Unwrap() error { return e.Err }
