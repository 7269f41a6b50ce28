package oci

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// The names of all methods below mean files in the container: the root directory of a name, and that of every symbolic
// link on the way to it, is the container's. A link never leads to the host.

// open finds a file, following symbolic links; the handle is good for its descriptor only (O_PATH).
func (c *Container) open(op, name string) (*os.File, error) {
	f, err := pathrs.OpenInRoot(c.root, name)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return f, nil
}

// at is a directory of the container and a name in it.
type at struct {
	dir  *os.File
	base string
}

// parent finds the directory that holds a name, following symbolic links to there but not at its end. The caller closes
// the directory.
func (c *Container) parent(op, name string) (at, error) {
	clean := path.Join("/", name)
	if clean == "/" {
		return at{}, &fs.PathError{Op: op, Path: name, Err: unix.EINVAL}
	}
	dir, err := pathrs.OpenInRoot(c.root, path.Dir(clean))
	if err != nil {
		return at{}, pathError(op, name, err)
	}
	return at{dir, path.Base(clean)}, nil
}

// fd is the directory's descriptor.
func (a at) fd() int { return int(a.dir.Fd()) }

// host is a path by which this process reaches the name. It is good as long as the directory is open, and for
// calls that do not follow a link at its end.
func (a at) host() string { return procFD(a.dir) + "/" + a.base }

func procFD(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// pathError is an error about a name of the container, without those of descriptors that a cause may hold.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// ReadFile reads a regular file.
func (c *Container) ReadFile(name string) ([]byte, error) {
	handle, err := c.open("open", name)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	// Before it is opened: a named pipe would wait for a writer.
	info, err := handle.Stat()
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := pathrs.Reopen(handle, unix.O_RDONLY)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return data, pathError("read", name, err)
}

// WriteFile makes name a regular file with that content and mode, whatever the umask. It replaces a file or symbolic
// link of that name at once; a regular file's owner is kept, otherwise it is 0:0. The directory must exist.
func (c *Container) WriteFile(name string, data []byte, mode fs.FileMode) (err error) {
	a, err := c.parent("write", name)
	if err != nil {
		return err
	}
	defer a.dir.Close()
	o, err := a.fileOwner()
	if err != nil {
		return pathError("write", name, err)
	}
	temp := tempName(a.base)
	// A process forked meanwhile would have the file open for writing until it calls exec, and a program that is open
	// so cannot be run (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Openat(a.fd(), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return pathError("create", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() {
		if err != nil {
			err = errors.Join(pathError("write", name, err), unix.Unlinkat(a.fd(), temp, 0))
		}
	}()
	_, err = f.Write(data)
	// In this order: a change of owner clears the setuid bit.
	err = errors.Join(err, chownTo(fd, o), f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return unix.Renameat(a.fd(), temp, a.fd(), a.base)
}

// tempName is a name beside another that is free.
func tempName(base string) string {
	const room = 255 - 1 - 1 - 26 // NAME_MAX, two dots, rand.Text
	if len(base) > room {
		base = base[:room]
	}
	return "." + base + "." + rand.Text()
}

// MkdirAll makes a directory and those above it that are missing, all with that mode, whatever the umask.
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
				return pathError("mkdir", at, err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return pathError("mkdir", at, err)
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
	defer a.dir.Close()
	if err := unix.Mkdirat(a.fd(), a.base, 0o700); err != nil {
		return pathError("mkdir", name, err)
	}
	f, err := openBelow(a.dir, a.base, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return pathError("mkdir", name, err)
	}
	defer f.Close()
	return pathError("chmod", name, os.Chmod(procFD(f), mode))
}

// Symlink makes name a symbolic link to text, in place of a file or link of that name.
func (c *Container) Symlink(text, name string) error {
	a, err := c.parent("symlink", name)
	if err != nil {
		return err
	}
	defer a.dir.Close()
	temp := tempName(a.base)
	if err := unix.Symlinkat(text, a.fd(), temp); err != nil {
		return pathError("symlink", name, err)
	}
	if err := unix.Renameat(a.fd(), temp, a.fd(), a.base); err != nil {
		return errors.Join(pathError("symlink", name, err), unix.Unlinkat(a.fd(), temp, 0))
	}
	return nil
}

// Remove removes a file, a link or an empty directory. It is no error if there is none.
func (c *Container) Remove(name string) error {
	a, err := c.parent("remove", name)
	if err != nil {
		return missingIsFine(err)
	}
	defer a.dir.Close()
	return missingIsFine(pathError("remove", name, os.Remove(a.host())))
}

// RemoveAll removes name and all that is in it. It is no error if there is none.
func (c *Container) RemoveAll(name string) error {
	a, err := c.parent("remove", name)
	if err != nil {
		return missingIsFine(err)
	}
	defer a.dir.Close()
	return pathError("remove", name, os.RemoveAll(a.host()))
}

func missingIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// ReadDir lists a directory, sorted by name. The information of each entry is taken at once.
func (c *Container) ReadDir(name string) ([]fs.DirEntry, error) {
	handle, err := c.open("open", name)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	entries, err := os.ReadDir(procFD(handle))
	if err != nil {
		return nil, pathError("read", name, err)
	}
	for i, e := range entries {
		info, err := lstat(procFD(handle) + "/" + e.Name())
		if err != nil {
			return nil, pathError("stat", path.Join(name, e.Name()), err)
		}
		entries[i] = fs.FileInfoToDirEntry(info)
	}
	return entries, nil
}

// Lstat describes a file, not following a symbolic link at the end of its name.
func (c *Container) Lstat(name string) (fs.FileInfo, error) {
	if path.Join("/", name) == "/" {
		info, err := lstat(c.root)
		return info, pathError("lstat", name, err)
	}
	a, err := c.parent("lstat", name)
	if err != nil {
		return nil, err
	}
	defer a.dir.Close()
	info, err := lstat(a.host())
	return info, pathError("lstat", name, err)
}

// lstat is os.Lstat with the owner that is noted.
func lstat(name string) (fs.FileInfo, error) {
	info, err := os.Lstat(name)
	if err != nil || isolation != IsolationSingle {
		return info, err
	}
	st := info.Sys().(*syscall.Stat_t)
	o, err := notedOwner(name, st.Mode)
	st.Uid, st.Gid = o.uid, o.gid
	return info, err
}

// Readlink gives the text of a symbolic link.
func (c *Container) Readlink(name string) (string, error) {
	a, err := c.parent("readlink", name)
	if err != nil {
		return "", err
	}
	defer a.dir.Close()
	text, err := os.Readlink(a.host())
	return text, pathError("readlink", name, err)
}

// Chmod sets the mode of a file or directory, following symbolic links.
func (c *Container) Chmod(name string, mode fs.FileMode) error {
	handle, err := c.open("chmod", name)
	if err != nil {
		return err
	}
	defer handle.Close()
	return pathError("chmod", name, os.Chmod(procFD(handle), mode))
}

// Lchown sets the owner of a file, directory or symbolic link.
func (c *Container) Lchown(name string, uid, gid int) error {
	a, err := c.parent("lchown", name)
	if err != nil {
		return err
	}
	defer a.dir.Close()
	fd, err := unix.Openat(a.fd(), a.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return pathError("lchown", name, err)
	}
	defer unix.Close(fd)
	return pathError("lchown", name, chownTo(fd, owner{uint32(uid), uint32(gid)}))
}

// chownTo gives an open file to an owner.
func chownTo(fd int, o owner) error {
	if isolation == IsolationSingle {
		return chown(fd, o)
	}
	return unix.Fchownat(fd, "", int(int32(o.uid)), int(int32(o.gid)), unix.AT_EMPTY_PATH)
}

// fileOwner gives the owner of a regular file, 0:0 for anything else and for nothing.
func (a at) fileOwner() (owner, error) {
	fd, err := unix.Openat(a.fd(), a.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return owner{}, nil
	}
	if err != nil {
		return owner{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return owner{}, err
	}
	if isolation == IsolationSingle {
		return openOwner(fd, st.Mode)
	}
	return owner{st.Uid, st.Gid}, nil
}
