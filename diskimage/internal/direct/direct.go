// SPDX-License-Identifier: Apache-2.0

// Package direct writes files past the page cache.
package direct

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// alignment of memory, offset and length is sufficient for all disks: none has larger sectors.
	alignment = 4 << 10
	// shortest is the minimum length of a direct write. Shorter writes, mostly of metadata, would
	// each wait for the disk; they reach it with the next fsync.
	shortest = 64 << 10
)

// File is an open file whose large, aligned writes go directly to the disk (O_DIRECT): they need no
// memory and no copy, and the final fsync has little left to do. Data that is read again soon is
// better written to the os.File, because direct writes leave nothing in the page cache.
//
// Readers of the file see all writes at once. Like an os.File, a File may be used by several
// goroutines.
type File struct {
	*os.File
	fd       int         // the same file, open for direct writes; negative if not possible
	rejected atomic.Bool // the file system rejected a direct write
}

// Open returns a File for direct writes to a file that is open for writing and stays the caller's.
// If direct writes are not possible, or not known to be faster, writes go to the file as usual.
func Open(file *os.File) *File {
	var st unix.Statfs_t
	if unix.Fstatfs(int(file.Fd()), &st) != nil || !profits(int64(st.Type)) {
		return &File{File: file, fd: -1}
	}
	return &File{File: file, fd: openDirect(file)}
}

// openDirect opens a file again for direct writes and returns the descriptor, -1 if that is not
// possible. The file's own descriptor is not changed, because it may have other users.
func openDirect(file *os.File) int {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// profits reports whether direct writes are faster on a type of file system. Measured with fsync on
// a Debian system of 655 MiB in an ext4, from small pages, two busy processors: on ext4 1.2 instead
// of 1.8 s and 0.36 instead of 0.54 s of processor time; on xfs 2.2 instead of 3.4 s and 0.41
// instead of 0.62 s, and where xfs shares blocks 0.9 instead of 1.7 s. On btrfs, which computes
// checksums of the data, there was no difference.
func profits(magic int64) bool {
	return magic == unix.EXT4_SUPER_MAGIC || magic == unix.XFS_SUPER_MAGIC
}

// Close ends direct writing. It does not close the file.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// InFile returns the file for diskimage.FileOf.
func (f *File) InFile() (fd int, offset int64) { return int(f.Fd()), 0 }

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(b []byte, offset int64) (int, error) {
	done := 0
	for f.suits(b[done:], offset+int64(done)) {
		n, err := unix.Pwrite(f.fd, b[done:], offset+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
			f.rejected.Store(true)
		case err != nil:
			return done, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
		default:
			done += n
		}
	}
	if done == len(b) {
		return done, nil
	}
	n, err := f.File.WriteAt(b[done:], offset+int64(done))
	return done + n, err
}

// suits reports whether bytes can be written directly, which is true for a Buffer and for most
// large slices.
func (f *File) suits(b []byte, offset int64) bool {
	if f.fd < 0 || f.rejected.Load() || len(b) < shortest {
		return false
	}
	return (uintptr(unsafe.Pointer(unsafe.SliceData(b)))|uintptr(offset)|uintptr(len(b)))%alignment == 0
}
