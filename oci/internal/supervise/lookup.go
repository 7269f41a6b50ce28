// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"bytes"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// open opens the file that a call is about (O_PATH). An error means that the kernel had better find out itself.
func (s *Supervisor) open(q *notification, c seccomp.Call) (int, error) {
	if c.Path == seccomp.NoArg {
		return s.openProc(q.PID, "fd/"+strconv.Itoa(int(int32(q.Data.Args[c.Dir]))))
	}
	name, err := readString(q.PID, q.Data.Args[c.Path])
	if err != nil {
		return -1, err
	}
	flags := 0
	if c.Flags != seccomp.NoArg {
		flags = int(q.Data.Args[c.Flags])
	}
	if name == "" {
		if flags&unix.AT_EMPTY_PATH == 0 {
			return -1, unix.ENOENT
		}
		return s.openDir(q, c)
	}
	nofollow := c.Nofollow || flags&unix.AT_SYMLINK_NOFOLLOW != 0
	if fd := openFile(name); fd != "" && !nofollow {
		return s.openProc(q.PID, "fd/"+fd)
	}
	return s.find(q, c, name, nofollow)
}

// openFile returns the number of an open file that a name is about; empty if it is about another.
func openFile(name string) string {
	switch name {
	case "/dev/stdin":
		return "0"
	case "/dev/stdout":
		return "1"
	case "/dev/stderr":
		return "2"
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"} {
		if fd, ok := strings.CutPrefix(name, dir); ok && fd != "" && strings.Trim(fd, "0123456789") == "" {
			return fd
		}
	}
	return ""
}

// openParent opens the directory that a call makes a file in, and returns the file's name there.
func (s *Supervisor) openParent(q *notification, c seccomp.Call) (dir int, base string, err error) {
	name, err := readString(q.PID, q.Data.Args[c.Path])
	if err != nil {
		return -1, "", err
	}
	if c.Op == seccomp.OpOpen && strings.HasSuffix(name, "/") {
		return -1, "", unix.EISDIR
	}
	name = strings.TrimRight(name, "/")
	if base = path.Base(name); base == "." || base == ".." || base == "/" {
		return -1, "", unix.EEXIST
	}
	if dir := strings.TrimSuffix(name, base); dir != "" {
		fd, err := s.find(q, c, dir, false)
		return fd, base, err
	}
	fd, err := s.openDir(q, c)
	return fd, base, err
}

// openDir opens the directory that a relative name begins in.
func (s *Supervisor) openDir(q *notification, c seccomp.Call) (int, error) {
	if c.Dir == seccomp.NoArg || int32(q.Data.Args[c.Dir]) == unix.AT_FDCWD {
		return s.openProc(q.PID, "cwd")
	}
	return s.openProc(q.PID, "fd/"+strconv.Itoa(int(int32(q.Data.Args[c.Dir]))))
}

// openProc opens what a link in /proc/PID leads to.
func (s *Supervisor) openProc(pid uint32, name string) (int, error) {
	number, err := s.numberInProc(pid)
	if err != nil {
		return -1, err
	}
	return unix.Openat(s.proc, number+"/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
}

// find opens a name as the caller would. Links to open files in /proc are not followed: which ones they are
// depends on who asks.
func (s *Supervisor) find(q *notification, c seccomp.Call, name string, nofollow bool) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if nofollow {
		how.Flags |= unix.O_NOFOLLOW
	}
	if path.IsAbs(name) {
		return s.findInRoot(q, name, how)
	}
	dir, err := s.openDir(q, c)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return s.findFrom(q, dir, name, how)
}

// findInRoot opens a name that begins at the caller's root directory, and does not leave that.
func (s *Supervisor) findInRoot(q *notification, name string, how unix.OpenHow) (int, error) {
	root, err := s.openProc(q.PID, "root")
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how.Resolve |= unix.RESOLVE_IN_ROOT
	return dirfd.Openat2(root, name, &how)
}

// findFrom opens a name that begins in an open directory. If it leads out of that, it is looked up from the
// caller's root directory on; the error is unix.EXDEV if the directory is not in there.
func (s *Supervisor) findFrom(q *notification, dir int, name string, how unix.OpenHow) (int, error) {
	beneath := how
	beneath.Resolve |= unix.RESOLVE_BENEATH
	fd, err := dirfd.Openat2(dir, name, &beneath)
	if !errors.Is(err, unix.EXDEV) {
		return fd, err
	}
	root, err := s.openProc(q.PID, "root")
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	top, err := os.Readlink(dirfd.ProcPath(root))
	if err != nil {
		return -1, err
	}
	at, err := os.Readlink(dirfd.ProcPath(dir))
	if err != nil {
		return -1, err
	}
	below, ok := strings.CutPrefix(at, strings.TrimRight(top, "/"))
	if !ok || below != "" && below[0] != '/' {
		return -1, unix.EXDEV
	}
	how.Resolve |= unix.RESOLVE_IN_ROOT
	return dirfd.Openat2(root, below+"/"+name, &how)
}

// readString reads a C string of a process.
func readString(pid uint32, address uint64) (string, error) {
	var buf [unix.PathMax]byte
	// Up to the end of the page in one go, because what comes after it may not be there.
	first := min(len(buf), int(unix.PathMax-address%unix.PathMax))
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: first},
		{Base: uintptr(address) + uintptr(first), Len: len(buf) - first}}
	n, err := unix.ProcessVMReadv(int(pid), local, remote, 0)
	if err != nil {
		return "", err
	}
	end := bytes.IndexByte(buf[:n], 0)
	if end < 0 {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:end]), nil
}

// ReadMemory fills data from the memory of a process.
func ReadMemory(pid uint32, address uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &data[0]}}
	local[0].SetLen(len(data))
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(data)}}
	if n, err := unix.ProcessVMReadv(int(pid), local, remote, 0); err != nil || n != len(data) {
		return unix.EFAULT
	}
	return nil
}

// writeMemory writes data to the memory of a process.
func writeMemory(pid uint32, address uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &data[0]}}
	local[0].SetLen(len(data))
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(data)}}
	if n, err := unix.ProcessVMWritev(int(pid), local, remote, 0); err != nil || n != len(data) {
		return unix.EFAULT
	}
	return nil
}
