package oci

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openBelow opens a file of an open directory, never by way of a symbolic link; nor does it wait for the writer of a named
// pipe.
func openBelow(dir *os.File, name string, flags int) (*os.File, error) {
	if flags&unix.O_PATH == 0 { // openat2(2) refuses the two together
		flags |= unix.O_NONBLOCK
	}
	fd, err := openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openDirBelow opens a directory of an open directory, to list it.
func openDirBelow(dir *os.File, name string) (*os.File, error) {
	return openBelow(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// openDir opens a directory of the host, to list it.
func openDir(name string) (*os.File, error) {
	return os.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// lstat describes a file, not following a symbolic link.
func (a at) lstat() (st unix.Stat_t, err error) {
	err = unix.Fstatat(a.fd(), a.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, pathError("lstat", a.base, err)
}

// is reports whether the name is that of an open file, still.
func (a at) is(f *os.File) (bool, error) {
	st, err := a.lstat()
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	var open unix.Stat_t
	if err := errors.Join(err, unix.Fstat(int(f.Fd()), &open)); err != nil {
		return false, err
	}
	return st.Dev == open.Dev && st.Ino == open.Ino, nil
}

// remove removes a file, or with unix.AT_REMOVEDIR an empty directory.
func (a at) remove(flags int) error {
	return pathError("remove", a.base, unix.Unlinkat(a.fd(), a.base, flags))
}

// rename gives a file another name, in place of what has that.
func (a at) rename(to at) error {
	return pathError("rename", a.base, unix.Renameat(a.fd(), a.base, to.fd(), to.base))
}

// copyEntry makes to what a file, directory, symbolic link or named pipe is, and reports whether there is something then:
// sockets, which would be dead, and devices are left out.
func copyEntry(to, from at, st *unix.Stat_t) (made bool, err error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = unix.Mkdirat(to.fd(), to.base, 0o700); errors.Is(err, unix.EEXIST) {
			err = nil
		}
	case unix.S_IFLNK:
		text, err := os.Readlink(from.host())
		if err != nil {
			return false, err
		}
		err = unix.Symlinkat(text, to.fd(), to.base)
		if err == nil {
			err = unix.Fchownat(to.fd(), to.base, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		}
		return true, pathError("symlink", to.base, err)
	case unix.S_IFIFO:
		err = unix.Mknodat(to.fd(), to.base, unix.S_IFIFO|0o600, 0)
	case unix.S_IFREG:
		in, err := openBelow(from.dir, from.base, unix.O_RDONLY)
		if err != nil {
			return false, err
		}
		defer in.Close()
		return true, copyOrLink(to, in)
	default:
		return false, nil
	}
	if err != nil {
		return false, pathError("make", to.base, err)
	}
	f, err := openBelow(to.dir, to.base, unix.O_PATH)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return true, giveMode(f, st)
}

// giveMode gives an open file (O_PATH) the owner and mode of another, if it is of the same type.
func giveMode(f *os.File, st *unix.Stat_t) error {
	var is unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &is); err != nil {
		return pathError("stat", f.Name(), err)
	}
	if is.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT {
		return fmt.Errorf("%s has been replaced meanwhile", f.Name())
	}
	// In this order: a change of owner clears the setuid bit.
	return pathError("chmod", f.Name(), errors.Join(
		unix.Fchownat(int(f.Fd()), "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH), unix.Chmod(procFD(f), st.Mode&0o7777),
	))
}

// linkFrom is the size from which a file is linked and not copied, if it is on the same file system: an image, say. What
// is written to it is in the host's file at once, as with a mount.
const linkFrom = 16 << 20

// copyOrLink makes a copy of an open file, or another link to it if it is large.
func copyOrLink(to at, in *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return pathError("stat", in.Name(), err)
	}
	if st.Size >= linkFrom && unix.Linkat(unix.AT_FDCWD, procFD(in), to.fd(), to.base, unix.AT_SYMLINK_FOLLOW) == nil {
		return nil
	}
	return copyFile(to, in)
}

// copyFile copies a regular file with its owner, mode and time, sharing the data where the file system can do that.
func copyFile(to at, in *os.File) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return pathError("stat", in.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s has been replaced meanwhile", in.Name())
	}
	fd, err := unix.Openat(to.fd(), to.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return pathError("create", to.base, err)
	}
	out := os.NewFile(uintptr(fd), to.base)
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(fd, int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	times := []unix.Timespec{st.Mtim, st.Mtim}
	return errors.Join(giveMode(out, &st), pathError("utimensat", to.base, unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)))
}
