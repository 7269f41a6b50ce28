// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// fileContent is an open file. It is a bare descriptor, because package os would ask the kernel four more questions
// about each of thousands of small files.
type fileContent int

// openContent opens a file of the tree again and makes sure that it is still the same one.
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

// openAt opens one name in a directory without following a link.
func openAt(dir int, base string, flags int) (int, error) {
	return unix.Openat(dir, base, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// openBelow opens a path under root, none of whose parts may be a symbolic link.
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

// openParts is openBelow for Linux before 5.6, where a seccomp filter does not know the call, and for paths that are
// too long for one call: it opens one part of the path after the other. The path must not hold "..".
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

// findData lists the parts of a sparse file that are not holes; nil if there are no holes after all.
func findData(dir int, base string, size int64) ([]Extent, error) {
	fd, err := openAt(dir, base, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data := []Extent{}
	for offset := int64(0); offset < size; {
		start, err := unix.Seek(fd, offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		if start >= size || end <= start {
			break
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
