// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
)

// All names that the methods below take are resolved inside the container: absolute names and
// symbolic links, also those on the way, start at the container's root directory. A link never
// leads to the host.

// open opens a file with O_PATH, following symbolic links; only the descriptor of the result is
// useful.
func (c *Container) open(op, name string) (*os.File, error) {
	f, err := pathrs.OpenInRoot(c.root, name)
	if err != nil {
		return nil, dirfd.PathError(op, name, err)
	}
	return f, nil
}

// parent opens the directory that holds a name. It follows symbolic links on the way to that
// directory, but not a link at the end of the name. The caller closes the directory.
func (c *Container) parent(op, name string) (dirfd.Entry, error) {
	clean := path.Join("/", name)
	if clean == "/" {
		return dirfd.Entry{}, &fs.PathError{Op: op, Path: name, Err: unix.EINVAL}
	}
	dir, err := pathrs.OpenInRoot(c.root, path.Dir(clean))
	if err != nil {
		return dirfd.Entry{}, dirfd.PathError(op, name, err)
	}
	return dirfd.Entry{Dir: dir, Base: path.Base(clean)}, nil
}

// ReadFile reads a regular file.
func (c *Container) ReadFile(name string) ([]byte, error) {
	handle, err := c.open("open", name)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	// Checked before opening: a named pipe would wait for a writer.
	info, err := handle.Stat()
	if err != nil {
		return nil, dirfd.PathError("stat", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := pathrs.Reopen(handle, unix.O_RDONLY)
	if err != nil {
		return nil, dirfd.PathError("open", name, err)
	}
	defer f.Close()
	var data bytes.Buffer
	const most = 256 << 20 // a hole can have any size
	data.Grow(int(min(info.Size(), most)) + bytes.MinRead)
	_, err = data.ReadFrom(f)
	return data.Bytes(), dirfd.PathError("read", name, err)
}

// WriteFile creates a regular file with the given content and mode, whatever the umask. It
// atomically replaces a file or symbolic link of that name; the owner of a regular file is kept,
// otherwise the owner is 0:0. The directory must exist.
func (c *Container) WriteFile(name string, data []byte, mode fs.FileMode) error {
	return c.CreateFile(name, mode, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// CreateFile is WriteFile with a function that writes the content, and may set the time. It must not
// start programs: none can be started by the whole process until it returns.
func (c *Container) CreateFile(name string, mode fs.FileMode, write func(*os.File) error) (err error) {
	a, err := c.parent("write", name)
	if err != nil {
		return err
	}
	defer a.Dir.Close()
	o, err := c.fileOwner(a)
	if err != nil {
		return dirfd.PathError("write", name, err)
	}
	temp := dirfd.TempName(a.Base)
	// A process forked at this moment would keep the file open for writing until it calls exec, and
	// a program that is open for writing cannot be executed (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Openat(a.FD(), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return dirfd.PathError("create", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() {
		if err != nil {
			err = errors.Join(dirfd.PathError("write", name, err), unix.Unlinkat(a.FD(), temp, 0))
		}
	}()
	err = write(f)
	// The mode comes after the owner: chown clears the setuid bit.
	err = errors.Join(err, c.chownTo(fd, o), f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return unix.Renameat(a.FD(), temp, a.FD(), a.Base)
}

// MkdirAll creates a directory and its missing parents, all with the given mode, whatever the
// umask.
func (c *Container) MkdirAll(name string, mode fs.FileMode) error {
	at := "/"
	for element := range strings.SplitSeq(strings.Trim(path.Join("/", name), "/"), "/") {
		at = path.Join(at, element)
		handle, err := pathrs.OpenInRoot(c.root, at)
		if err == nil {
			info, err := handle.Stat()
			handle.Close()
			if err == nil && !info.IsDir() {
				err = unix.ENOTDIR
			}
			if err != nil {
				return dirfd.PathError("mkdir", at, err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return dirfd.PathError("mkdir", at, err)
		}
		if err := c.mkdir(at, mode); err != nil {
			return err
		}
	}
	return nil
}

func (c *Container) mkdir(name string, mode fs.FileMode) error {
	a, err := c.parent("mkdir", name)
	if err != nil {
		return err
	}
	defer a.Dir.Close()
	if err := unix.Mkdirat(a.FD(), a.Base, 0o700); err != nil {
		return dirfd.PathError("mkdir", name, err)
	}
	f, err := dirfd.Open(a.Dir, a.Base, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return dirfd.PathError("mkdir", name, err)
	}
	defer f.Close()
	return dirfd.PathError("chmod", name, os.Chmod(dirfd.ProcPath(int(f.Fd())), mode))
}

// Symlink makes name a symbolic link to text, replacing a file or link of that name.
func (c *Container) Symlink(text, name string) error {
	a, err := c.parent("symlink", name)
	if err != nil {
		return err
	}
	defer a.Dir.Close()
	temp := dirfd.TempName(a.Base)
	if err := unix.Symlinkat(text, a.FD(), temp); err != nil {
		return dirfd.PathError("symlink", name, err)
	}
	if err := unix.Renameat(a.FD(), temp, a.FD(), a.Base); err != nil {
		return errors.Join(dirfd.PathError("symlink", name, err), unix.Unlinkat(a.FD(), temp, 0))
	}
	return nil
}

// Remove removes a file, a link or an empty directory. It is not an error if the file does not
// exist.
func (c *Container) Remove(name string) error {
	a, err := c.parent("remove", name)
	if err != nil {
		return ignoreMissing(err)
	}
	defer a.Dir.Close()
	return ignoreMissing(dirfd.PathError("remove", name, os.Remove(a.Path())))
}

// RemoveAll removes name and everything in it. It is not an error if the file does not exist.
func (c *Container) RemoveAll(name string) error {
	a, err := c.parent("remove", name)
	if err != nil {
		return ignoreMissing(err)
	}
	defer a.Dir.Close()
	return dirfd.PathError("remove", name, os.RemoveAll(a.Path()))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// ReadDir lists a directory, sorted by name. It reads the FileInfo of each entry at once.
func (c *Container) ReadDir(name string) ([]fs.DirEntry, error) {
	handle, err := c.open("open", name)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	entries, err := os.ReadDir(dirfd.ProcPath(int(handle.Fd())))
	if err != nil {
		return nil, dirfd.PathError("read", name, err)
	}
	for i, e := range entries {
		info, err := c.lstat(dirfd.ProcPath(int(handle.Fd())) + "/" + e.Name())
		if err != nil {
			return nil, dirfd.PathError("stat", path.Join(name, e.Name()), err)
		}
		entries[i] = fs.FileInfoToDirEntry(info)
	}
	return entries, nil
}

// Lstat describes a file without following a symbolic link at the end of its name.
func (c *Container) Lstat(name string) (fs.FileInfo, error) {
	if path.Join("/", name) == "/" {
		info, err := c.lstat(c.root)
		return info, dirfd.PathError("lstat", name, err)
	}
	a, err := c.parent("lstat", name)
	if err != nil {
		return nil, err
	}
	defer a.Dir.Close()
	info, err := c.lstat(a.Path())
	return info, dirfd.PathError("lstat", name, err)
}

// lstat is os.Lstat with the owner from the owner xattr where those are used.
func (c *Container) lstat(name string) (fs.FileInfo, error) {
	info, err := os.Lstat(name)
	if err != nil || !c.OwnerXattrs() {
		return info, err
	}
	st := info.Sys().(*syscall.Stat_t)
	o, err := owners.Read(name, st.Mode)
	st.Uid, st.Gid = o.UID, o.GID
	return info, err
}

// Readlink returns the target of a symbolic link.
func (c *Container) Readlink(name string) (string, error) {
	a, err := c.parent("readlink", name)
	if err != nil {
		return "", err
	}
	defer a.Dir.Close()
	text, err := os.Readlink(a.Path())
	return text, dirfd.PathError("readlink", name, err)
}

// Chmod sets the mode of a file or directory, following symbolic links.
func (c *Container) Chmod(name string, mode fs.FileMode) error {
	handle, err := c.open("chmod", name)
	if err != nil {
		return err
	}
	defer handle.Close()
	return dirfd.PathError("chmod", name, os.Chmod(dirfd.ProcPath(int(handle.Fd())), mode))
}

// Lchown sets the owner of a file, directory or symbolic link.
func (c *Container) Lchown(name string, uid, gid int) error {
	a, err := c.parent("lchown", name)
	if err != nil {
		return err
	}
	defer a.Dir.Close()
	fd, err := unix.Openat(a.FD(), a.Base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return dirfd.PathError("lchown", name, err)
	}
	defer unix.Close(fd)
	return dirfd.PathError("lchown", name, c.chownTo(fd, owners.Owner{UID: uint32(uid), GID: uint32(gid)}))
}

// Lsetxattr sets an extended attribute of a file, directory or symbolic link. A value has the form
// that setxattr(2) takes from root.
func (c *Container) Lsetxattr(name, attribute string, value []byte) error {
	a, err := c.parent("lsetxattr", name)
	if err != nil {
		return err
	}
	defer a.Dir.Close()
	return dirfd.PathError("lsetxattr", name, unix.Lsetxattr(a.Path(), attribute, value, 0))
}

// chownTo sets the owner of an open file.
func (c *Container) chownTo(fd int, o owners.Owner) error {
	if c.OwnerXattrs() {
		return owners.Chown(fd, o)
	}
	return unix.Fchownat(fd, "", int(int32(o.UID)), int(int32(o.GID)), unix.AT_EMPTY_PATH)
}

// fileOwner returns the owner of a regular file, or 0:0 for any other file type or a missing file.
func (c *Container) fileOwner(a dirfd.Entry) (owners.Owner, error) {
	fd, err := unix.Openat(a.FD(), a.Base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return owners.Owner{}, nil
	}
	if err != nil {
		return owners.Owner{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return owners.Owner{}, err
	}
	if c.OwnerXattrs() {
		return owners.ReadFD(fd, st.Mode)
	}
	return owners.Owner{UID: st.Uid, GID: st.Gid}, nil
}
