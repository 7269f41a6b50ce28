// SPDX-License-Identifier: Apache-2.0

// Package dirfd works on files that are named by an open directory and a name in it. Programs of a container
// may put symbolic links in place of directories at any time, and a path that is resolved again then
// leads elsewhere; a directory that is open stays what it is. Entry is such a name: it can be looked at,
// copied, renamed and removed without following a link. Beside that there are directories which are locked as
// long as somebody works on them, so that the next process can tell what a killed one has left (MakeLocked,
// RemoveUnlocked).
package dirfd

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Within reports whether a clean absolute name is dir or below it.
func Within(name, dir string) bool {
	return name == dir || len(name) > len(dir) && name[:len(dir)] == dir && name[len(dir)] == '/'
}

// Entry is an open directory and a name in it.
type Entry struct {
	Dir  *os.File
	Base string
}

// FD is the directory's descriptor.
func (a Entry) FD() int { return int(a.Dir.Fd()) }

// Path is a path by which this process reaches the name. It is good as long as the directory is open, and for
// calls that do not follow a link at its end.
func (a Entry) Path() string { return ProcPath(int(a.Dir.Fd())) + "/" + a.Base }

// PathError is an error about a name of the container, without those of descriptors that a cause may hold.
func PathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// TempName is a name beside another that is free.
func TempName(base string) string {
	const room = 255 - 1 - 1 - 26 // NAME_MAX, two dots, rand.Text
	if len(base) > room {
		base = base[:room]
	}
	return "." + base + "." + rand.Text()
}

// ProcPath is a name by which this process reaches an open file.
func ProcPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// Openat2 is openat2(2), again if something was renamed meanwhile.
func Openat2(dir int, name string, how *unix.OpenHow) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
