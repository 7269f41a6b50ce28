package oci

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
)

// seccompAddFD is struct seccomp_notif_addfd of linux/seccomp.h.
type seccompAddFD struct {
	ID         uint64
	Flags      uint32
	Source     uint32
	Target     uint32
	TargetFlag uint32
}

// notifAddFD is SECCOMP_IOCTL_NOTIF_ADDFD.
const notifAddFD = 0x40182103

// create makes a file whose owner must be noted: in a directory that gives its group to what is in it, or by somebody who
// has become a user. All others are made by the kernel.
func (s *supervisor) create(q *seccompNotification, c call) error {
	who, err := s.people.who(s.proc, q.PID)
	if err != nil {
		return errLeave
	}
	o := who.files()
	if c.op == opOpen && c.flags != noArg && q.Data.Args[c.flags]&unix.O_TMPFILE == unix.O_TMPFILE {
		return s.createUnnamed(q, c, o)
	}
	dir, base, err := s.openParent(q, c)
	if errors.Is(err, unix.ELOOP) && o != rootOwner {
		return &lostOwner{fmt.Errorf("make a file behind a link of /proc: it cannot be given to %d:%d", o.uid, o.gid)}
	}
	if err != nil {
		return errLeave
	}
	defer unix.Close(dir)
	inherits, list, err := inherit(dir, &o)
	if err != nil {
		return &lostOwner{fmt.Errorf("%s: %w", s.describe(dir), err)}
	}
	if o == rootOwner && (list == nil || c.op == opSymlink) {
		return errLeave
	}
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil && c.op == opOpen && st.Mode&unix.S_IFMT == unix.S_IFLNK:
		if _, err := s.open(q, call{dir: c.dir, path: c.path, flags: noArg}); err == nil {
			return errLeave
		}
		return &lostOwner{fmt.Errorf("make %s/%s: a file behind a link to nowhere cannot be given to %d:%d", s.describe(dir), base, o.uid, o.gid)}
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
	if c.op != opSymlink {
		mode = uint32(q.Data.Args[c.mode])
		if list == nil {
			mode &^= mask
		}
	}
	switch c.op {
	case opOpen:
		flags := unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC // creat(2)
		if c.flags != noArg {
			flags = int(q.Data.Args[c.flags])
		}
		fd, err := unix.Openat(dir, base, flags|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return s.handOver(q, fd, o, list, mode&0o7777, flags)
	case opMkdir:
		err = unix.Mkdirat(dir, base, 0o700)
		mode &= 0o1777
		if inherits {
			mode |= unix.S_ISGID
		}
	case opMknod:
		if t := mode & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
			return errLeave // which refuses
		}
		err = unix.Mknodat(dir, base, mode, 0)
	case opSymlink:
		var text string
		if text, err = readString(q.PID, q.Data.Args[c.arg]); err == nil {
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
	if c.op == opSymlink {
		return s.note(fd, o)
	}
	return s.finish(fd, o, list, mode&0o7777, c.op == opMkdir)
}

// finish gives a new file its owner, mode and access control list.
func (s *supervisor) finish(fd int, o owner, list acl.List, mode uint32, dir bool) (err error) {
	if err := s.note(fd, o); err != nil {
		return err
	}
	var lost *lostOwner
	if list != nil {
		if mode, err = inheritACL(fd, list, mode, dir); errors.As(err, &lost) {
			return &lostOwner{fmt.Errorf("%s: note its access control list: %w", s.describe(fd), err)}
		}
	}
	return errors.Join(err, unix.Chmod(procPath(fd), mode))
}

// createUnnamed makes a file that has no name yet (O_TMPFILE).
func (s *supervisor) createUnnamed(q *seccompNotification, c call, o owner) error {
	name, err := readString(q.PID, q.Data.Args[c.path])
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
		return &lostOwner{fmt.Errorf("%s: %w", s.describe(dir), err)}
	}
	mask, err := umask(s.proc, q.PID)
	if list != nil {
		mask = 0
	}
	if o == rootOwner && list == nil || err != nil || !s.valid(q) {
		return errLeave
	}
	flags := int(q.Data.Args[c.flags])
	fd, err := unix.Openat(dir, ".", flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.handOver(q, fd, o, list, uint32(q.Data.Args[c.mode])&^mask&0o7777, flags)
}

// inherit gives o the group that files of a directory get, and reports whether they get that of the directory; the list
// is what their access is to be, nil if that is in the hands of the kernel.
func inherit(dir int, o *owner) (group bool, list acl.List, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return false, nil, err
	}
	if list, err = notedACL(dir, acl.Default); err != nil || st.Mode&unix.S_ISGID == 0 {
		return false, list, err
	}
	of, err := openOwner(dir, st.Mode)
	o.gid = of.gid
	return true, list, err
}

// handOver finishes a new file, and gives the caller a descriptor of it.
func (s *supervisor) handOver(q *seccompNotification, fd int, o owner, list acl.List, mode uint32, flags int) error {
	if err := s.finish(fd, o, list, mode, false); err != nil {
		return err
	}
	add := seccompAddFD{ID: q.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SEND, Source: uint32(fd), TargetFlag: uint32(flags & unix.O_CLOEXEC)}
	if err := ioctl(s.listener, notifAddFD, unsafe.Pointer(&add)); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return errAnswered
}

// note notes the owner of a file that was made.
func (s *supervisor) note(fd int, o owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := noteOwner(fd, st.Mode, o); err != nil {
		return &lostOwner{fmt.Errorf("%s: %w", s.describe(fd), err)}
	}
	return nil
}

// describe names an open file for a message.
func (s *supervisor) describe(fd int) string {
	name, err := os.Readlink(procPath(fd))
	if err != nil {
		return "a file"
	}
	return strings.TrimSuffix(name, " (deleted)")
}
