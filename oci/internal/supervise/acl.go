// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// An access control list names users and groups, too, and the kernel refuses one with ids that are not there.
// It is then kept in an attribute of users instead, as it was given, while the mode of the file says what it
// would say with it.

// notedACL reads the note that stands for an attribute of an open file; nil if there is none.
func notedACL(fd int, name string) (acl.List, error) {
	note, _ := ownerxattr.ForACL(name)
	buf := make([]byte, 1024)
	for {
		n, err := unix.Getxattr(dirfd.ProcPath(fd), note, buf)
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
			continue
		}
		if err != nil {
			return nil, &owners.LostError{Err: err}
		}
		list, err := acl.Parse(buf[:n])
		if err != nil {
			return nil, &owners.LostError{Err: err}
		}
		return list, nil
	}
}

// noteACL gives an open file a list that the kernel cannot keep.
func noteACL(fd int, name string, list acl.List) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	note, ok := ownerxattr.ForACL(name)
	if !ok || !ownerxattr.HoldsUserXattrs(st.Mode) {
		return unix.EOPNOTSUPP
	}
	path := dirfd.ProcPath(fd)
	if err := unix.Removexattr(path, name); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	if name == acl.Access {
		if err := unix.Chmod(path, st.Mode&^0o777&0o7777|list.Permissions()); err != nil {
			return err
		}
	}
	if err := unix.Setxattr(path, note, list.Xattr(), 0); err != nil {
		return &owners.LostError{Err: err}
	}
	return nil
}

// inheritACL gives a new file what the default list of its directory says, and the mode that it then has.
// mode is what its maker asked for, without regard to the umask.
func inheritACL(fd int, list acl.List, mode uint32, dir bool) (uint32, error) {
	mode = mode&^0o777 | mode&list.Permissions()
	if dir {
		if err := noteACL(fd, acl.Default, list); err != nil {
			return mode, err
		}
	}
	return mode, noteACL(fd, acl.Access, list.WithMode(mode))
}

// xattr answers calls about access control lists that name others than root.
func (s *Supervisor) xattr(q *notification, c seccomp.Call) (int64, error) {
	name, err := readString(q.PID, q.Data.Args[c.Arg])
	if err == nil && ownerxattr.Is(name) { // owners and lists are asked for and set in the ordinary way
		if c.Op == seccomp.OpGetxattr {
			return 0, unix.ENODATA
		}
		return 0, unix.EPERM
	}
	note, ok := ownerxattr.ForACL(name)
	if err != nil || !ok {
		return 0, errLeave
	}
	fd, err := s.open(q, c)
	if err != nil {
		return 0, errLeave
	}
	defer unix.Close(fd)
	noted, err := notedACL(fd, name)
	if err != nil {
		return 0, err
	}
	var value, size uint64
	if c.Op != seccomp.OpRemovexattr {
		value, size = q.Data.Args[c.Arg+1], q.Data.Args[c.Arg+2]
	}
	switch c.Op {
	case seccomp.OpSetxattr:
		const most = 1 << 16 // XATTR_SIZE_MAX
		b := make([]byte, min(size, most))
		if err := ReadMemory(q.PID, value, b); err != nil {
			return 0, err
		}
		if list, err := acl.Parse(b); err == nil && list.NamesOthers() {
			return 0, noteACL(fd, name, list)
		}
	case seccomp.OpGetxattr:
		if noted == nil {
			return 0, errLeave
		}
		if name == acl.Access {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return 0, errLeave
			}
			noted = noted.WithMode(st.Mode)
		}
		list := noted.Xattr()
		switch {
		case size == 0:
			return int64(len(list)), nil
		case size < uint64(len(list)):
			return 0, unix.ERANGE
		}
		return int64(len(list)), writeMemory(q.PID, value, list)
	}
	if noted == nil {
		return 0, errLeave
	}
	// It is replaced by one that the kernel can keep, or removed.
	if err := unix.Removexattr(dirfd.ProcPath(fd), note); err != nil {
		return 0, &owners.LostError{Err: err}
	}
	if c.Op == seccomp.OpRemovexattr {
		return 0, nil
	}
	return 0, errLeave
}
