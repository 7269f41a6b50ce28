// SPDX-License-Identifier: Apache-2.0

package dirfd

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a file of an open directory, never by way of a symbolic link; nor does it wait for the writer of a named
// pipe.
func Open(dir *os.File, name string, flags int) (*os.File, error) {
	if flags&unix.O_PATH == 0 { // openat2(2) refuses the two together
		flags |= unix.O_NONBLOCK
	}
	fd, err := Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, PathError("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenDirAt opens a directory of an open directory, to list it.
func OpenDirAt(dir *os.File, name string) (*os.File, error) {
	return Open(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// OpenDir opens a directory of the host, to list it.
func OpenDir(name string) (*os.File, error) {
	return os.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// Lstat describes a file, not following a symbolic link.
func (a Entry) Lstat() (st unix.Stat_t, err error) {
	err = unix.Fstatat(a.FD(), a.Base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, PathError("lstat", a.Base, err)
}

// Is reports whether the name is that of an open file, still.
func (a Entry) Is(f *os.File) (bool, error) {
	st, err := a.Lstat()
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	var open unix.Stat_t
	if err := errors.Join(err, unix.Fstat(int(f.Fd()), &open)); err != nil {
		return false, err
	}
	return st.Dev == open.Dev && st.Ino == open.Ino, nil
}

// Remove removes a file, or with unix.AT_REMOVEDIR an empty directory.
func (a Entry) Remove(flags int) error {
	return PathError("remove", a.Base, unix.Unlinkat(a.FD(), a.Base, flags))
}

// Rename gives a file another name, in place of what has that.
func (a Entry) Rename(to Entry) error {
	return PathError("rename", a.Base, unix.Renameat(a.FD(), a.Base, to.FD(), to.Base))
}

// Copy makes to what a file, directory, symbolic link or named pipe is, and reports whether there is something then:
// sockets, which would be dead, and devices are left out.
func Copy(to, from Entry, st *unix.Stat_t) (made bool, err error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = unix.Mkdirat(to.FD(), to.Base, 0o700); errors.Is(err, unix.EEXIST) {
			err = nil
		}
	case unix.S_IFLNK:
		text, err := os.Readlink(from.Path())
		if err != nil {
			return false, err
		}
		err = unix.Symlinkat(text, to.FD(), to.Base)
		if err == nil {
			err = unix.Fchownat(to.FD(), to.Base, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		}
		return true, PathError("symlink", to.Base, err)
	case unix.S_IFIFO:
		err = unix.Mknodat(to.FD(), to.Base, unix.S_IFIFO|0o600, 0)
	case unix.S_IFREG:
		in, err := Open(from.Dir, from.Base, unix.O_RDONLY)
		if err != nil {
			return false, err
		}
		defer in.Close()
		return true, copyOrLink(to, in)
	default:
		return false, nil
	}
	if err != nil {
		return false, PathError("make", to.Base, err)
	}
	f, err := Open(to.Dir, to.Base, unix.O_PATH)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return true, SetMode(f, st)
}

// SetMode gives an open file (O_PATH) the owner and mode of another, if it is of the same type.
func SetMode(f *os.File, st *unix.Stat_t) error {
	var is unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &is); err != nil {
		return PathError("stat", f.Name(), err)
	}
	if is.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT {
		return fmt.Errorf("%s has been replaced meanwhile", f.Name())
	}
	// In this order: a change of owner clears the setuid bit.
	return PathError("chmod", f.Name(), errors.Join(
		unix.Fchownat(int(f.Fd()), "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH),
		unix.Chmod(ProcPath(int(f.Fd())), st.Mode&0o7777),
	))
}

// LinkFrom is the size from which a file is linked and not copied, if it is on the same file system: an
// image, say. What is written to it is in the host's file at once, as with a mount.
const LinkFrom = 16 << 20

// copyOrLink makes a copy of an open file, or another link to it if it is large.
func copyOrLink(to Entry, in *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return PathError("stat", in.Name(), err)
	}
	if st.Size >= LinkFrom && unix.Linkat(unix.AT_FDCWD, ProcPath(int(in.Fd())), to.FD(), to.Base,
		unix.AT_SYMLINK_FOLLOW) == nil {
		return nil
	}
	return CopyFile(to, in)
}

// CopyFile copies a regular file with its owner, mode and time, sharing the data where the file system can do that.
func CopyFile(to Entry, in *os.File) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return PathError("stat", in.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s has been replaced meanwhile", in.Name())
	}
	fd, err := unix.Openat(to.FD(), to.Base,
		unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return PathError("create", to.Base, err)
	}
	out := os.NewFile(uintptr(fd), to.Base)
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(fd, int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	times := []unix.Timespec{st.Mtim, st.Mtim}
	return errors.Join(SetMode(out, &st),
		PathError("utimensat", to.Base, unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)))
}
