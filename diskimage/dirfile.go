// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// fileContent is the descriptor of an open file. An os.File would cost four more system calls for
// each of thousands of small files.
type fileContent int

// openContent opens a file of the tree again and checks that it is still the same file.
func openContent(root *os.File, name string, id inode, size int64) (Content, error) {
	fd, err := openBelow(root, name, 0)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (id != inodeOf(&st) || st.Size != size) {
		err = errors.New("file has changed since the tree was read")
	}
	if err != nil {
		return nil, pathError("open", name, errors.Join(err, unix.Close(fd)))
	}
	return fileContent(fd), nil
}

// ReadAt implements io.ReaderAt.
func (c fileContent) ReadAt(b []byte, offset int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Pread(int(c), b[done:], offset+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return done, os.NewSyscallError("pread", err)
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return done, nil
}

// InFile implements InFile.
func (c fileContent) InFile() (fd int, offset int64) { return int(c), 0 }

// Close implements io.Closer.
func (c fileContent) Close() error { return os.NewSyscallError("close", unix.Close(int(c))) }

// openAt opens a name in a directory without following symbolic links.
func openAt(dir int, base string, flags int) (int, error) {
	return unix.Openat(dir, base, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// openBelow opens a path under root, no part of which may be a symbolic link.
func openBelow(root *os.File, name string, flags int) (int, error) {
	defer runtime.KeepAlive(root)
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENAMETOOLONG):
		return openParts(int(root.Fd()), name, flags)
	}
	return -1, err
}

// openParts is openBelow for Linux before 5.6, for seccomp filters that do not know openat2, and
// for paths that are too long for one call: it opens the parts of the path one by one. The path
// must not contain "..".
func openParts(root int, name string, flags int) (int, error) {
	dir, rest := root, name
	for {
		base, next, more := strings.Cut(rest, "/")
		partFlags := flags
		if more {
			partFlags = unix.O_DIRECTORY
		}
		fd, err := openAt(dir, base, partFlags)
		if dir != root {
			unix.Close(dir)
		}
		if err != nil || !more {
			return fd, err
		}
		dir, rest = fd, next
	}
}

// findData returns the ranges of a sparse file that are not holes, or nil if there are no holes.
func findData(dir int, base string, size int64) ([]Extent, error) {
	fd, err := openAt(dir, base, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), base)
	defer file.Close()
	image, err := rawimage.Open(file)
	if err != nil {
		return nil, err
	}
	data := []Extent{}
	for offset := int64(0); offset < size; {
		start, end, ok, err := image.NextData(offset)
		if err != nil {
			return nil, err
		}
		if !ok || start >= size || end <= start {
			break // only a hole is left
		}
		end = min(end, size)
		data = append(data, Extent{Offset: start, Length: end - start})
		offset = end
	}
	if len(data) == 1 && data[0].Length == size {
		return nil, nil
	}
	return data, nil
}
