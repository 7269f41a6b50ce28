// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// create makes a file whose owner must be noted: in a directory that gives its group to what is in it, or by
// somebody who has become a user. All others are made by the kernel.
func (s *Supervisor) create(q *notification, c seccomp.Call) error {
	who, err := s.table.of(s.proc, q.PID)
	if err != nil {
		return errLeave
	}
	o := who.files()
	if c.Op == seccomp.OpOpen && c.Flags != seccomp.NoArg && q.Data.Args[c.Flags]&unix.O_TMPFILE == unix.O_TMPFILE {
		return s.createUnnamed(q, c, o)
	}
	dir, base, err := s.openParent(q, c)
	if errors.Is(err, unix.ELOOP) && o != owners.Root {
		return &owners.LostError{Err: fmt.Errorf("make a file behind a link of /proc: it cannot be given to %d:%d",
			o.UID, o.GID)}
	}
	if err != nil {
		return errLeave
	}
	defer unix.Close(dir)
	inherits, list, err := inherit(dir, &o)
	if err != nil {
		return &owners.LostError{Err: fmt.Errorf("%s: %w", s.describe(dir), err)}
	}
	if o == owners.Root && (list == nil || c.Op == seccomp.OpSymlink) {
		return errLeave
	}
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil && c.Op == seccomp.OpOpen && st.Mode&unix.S_IFMT == unix.S_IFLNK:
		if _, err := s.open(q, seccomp.Call{Dir: c.Dir, Path: c.Path, Flags: seccomp.NoArg}); err == nil {
			return errLeave
		}
		return &owners.LostError{Err: fmt.Errorf("make %s/%s: a file behind a link to nowhere cannot be given to %d:%d",
			s.describe(dir), base, o.UID, o.GID)}
	case err == nil:
		return errLeave // it is there
	case !errors.Is(err, unix.ENOENT):
		return errLeave
	}
	mask, err := umask(s.proc, q.PID)
	if err != nil || !s.valid(q) {
		return errLeave
	}
	mode := uint32(0)
	if c.Op != seccomp.OpSymlink {
		mode = uint32(q.Data.Args[c.Mode])
		if list == nil {
			mode &^= mask
		}
	}
	switch c.Op {
	case seccomp.OpOpen:
		flags := unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC // creat(2)
		if c.Flags != seccomp.NoArg {
			flags = int(q.Data.Args[c.Flags])
		}
		fd, err := unix.Openat(dir, base, flags|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return s.handOver(q, fd, o, list, mode&0o7777, flags)
	case seccomp.OpMkdir:
		err = unix.Mkdirat(dir, base, 0o700)
		mode &= 0o1777
		if inherits {
			mode |= unix.S_ISGID
		}
	case seccomp.OpMknod:
		if t := mode & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
			return errLeave // which refuses
		}
		err = unix.Mknodat(dir, base, mode, 0)
	case seccomp.OpSymlink:
		var text string
		if text, err = readString(q.PID, q.Data.Args[c.Arg]); err == nil {
			err = unix.Symlinkat(text, dir, base)
		}
	}
	if err != nil {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if c.Op == seccomp.OpSymlink {
		return s.note(fd, o)
	}
	return s.finish(fd, o, list, mode&0o7777, c.Op == seccomp.OpMkdir)
}

// finish gives a new file its owner, mode and access control list.
func (s *Supervisor) finish(fd int, o owners.Owner, list acl.List, mode uint32, dir bool) (err error) {
	if err := s.note(fd, o); err != nil {
		return err
	}
	var lost *owners.LostError
	if list != nil {
		if mode, err = inheritACL(fd, list, mode, dir); errors.As(err, &lost) {
			return &owners.LostError{Err: fmt.Errorf("%s: note its access control list: %w", s.describe(fd), err)}
		}
	}
	return errors.Join(err, unix.Chmod(dirfd.ProcPath(fd), mode))
}

// createUnnamed makes a file that has no name yet (O_TMPFILE).
func (s *Supervisor) createUnnamed(q *notification, c seccomp.Call, o owners.Owner) error {
	name, err := readString(q.PID, q.Data.Args[c.Path])
	if err != nil {
		return errLeave
	}
	dir, err := s.find(q, c, name, false)
	if err != nil {
		return errLeave
	}
	defer unix.Close(dir)
	_, list, err := inherit(dir, &o)
	if err != nil {
		return &owners.LostError{Err: fmt.Errorf("%s: %w", s.describe(dir), err)}
	}
	mask, err := umask(s.proc, q.PID)
	if list != nil {
		mask = 0
	}
	if o == owners.Root && list == nil || err != nil || !s.valid(q) {
		return errLeave
	}
	flags := int(q.Data.Args[c.Flags])
	fd, err := unix.Openat(dir, ".", flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.handOver(q, fd, o, list, uint32(q.Data.Args[c.Mode])&^mask&0o7777, flags)
}

// inherit gives o the group that files of a directory get, and reports whether they get that of the
// directory; the list is what their access is to be, nil if that is in the hands of the kernel.
func inherit(dir int, o *owners.Owner) (group bool, list acl.List, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return false, nil, err
	}
	if list, err = notedACL(dir, acl.Default); err != nil || st.Mode&unix.S_ISGID == 0 {
		return false, list, err
	}
	of, err := owners.ReadFD(dir, st.Mode)
	o.GID = of.GID
	return true, list, err
}

// handOver finishes a new file, and gives the caller a descriptor of it.
func (s *Supervisor) handOver(q *notification, fd int, o owners.Owner, list acl.List, mode uint32, flags int) error {
	if err := s.finish(fd, o, list, mode, false); err != nil {
		return err
	}
	add := addFD{ID: q.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SEND, Source: uint32(fd),
		NewFlags: uint32(flags & unix.O_CLOEXEC)}
	if err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&add)); err != nil &&
		!errors.Is(err, unix.ENOENT) {
		return err
	}
	return errAnswered
}

// note notes the owner of a file that was made.
func (s *Supervisor) note(fd int, o owners.Owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := owners.Write(fd, st.Mode, o); err != nil {
		return &owners.LostError{Err: fmt.Errorf("%s: %w", s.describe(fd), err)}
	}
	return nil
}

// describe names an open file for a message.
func (s *Supervisor) describe(fd int) string {
	name, err := os.Readlink(dirfd.ProcPath(fd))
	if err != nil {
		return "a file"
	}
	return strings.TrimSuffix(name, " (deleted)")
}
