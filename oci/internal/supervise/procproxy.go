// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// A container of the isolation chroot has no /proc, and programs need one: systemd-tmpfiles changes modes and
// access control lists by /proc/self/fd/N, and what it fails to make is missing in the image without a word.
// So the parent of the container's processes shares them its own. A seccomp filter has the kernel ask it for
// each call that takes a name; it makes those calls itself that name something in /proc, or in the links to
// there that are in /dev, and leaves all others to the kernel. Relative names that begin at a directory in
// /proc need no help, and programs cannot be started by a name in there.
//
// Only what belongs to a process of the container can be written to: the rest is the host's. What is behind a link of a
// process, such as /proc/self/root, is looked up in the root directory of the caller, see procname.go.

// shape says what the arguments of a call mean; noArg where there is no such argument.
type shape struct {
	// path is the name, text another string.
	path, text int
	// in and inSize are bytes to read and how many, out and outSize those to write; a size that is noArg is fixed.
	in, inSize, out, outSize int
	fixed                    int
	// opens: it gives a descriptor, and flags and mode follow the path.
	opens bool
	// links: it gives the text of a symbolic link.
	links bool
	// flags are those of the call that say whether it follows a link at the end of the name, or noArg; never:
	// it does not.
	flags int
	never bool
}

// nofollow reports whether the call does not follow a symbolic link at the end of the name.
func (c shape) nofollow(q *notification) bool {
	switch {
	case c.never || c.links:
		return true
	case c.opens:
		const exclusive = unix.O_CREAT | unix.O_EXCL
		flags := q.Data.Args[c.path+1]
		return flags&unix.O_NOFOLLOW != 0 || flags&exclusive == exclusive
	case c.flags == seccomp.NoArg:
		return false
	case q.Data.Nr == unix.SYS_LINKAT:
		return q.Data.Args[c.flags]&unix.AT_SYMLINK_FOLLOW == 0
	default:
		return q.Data.Args[c.flags]&unix.AT_SYMLINK_NOFOLLOW != 0
	}
}

// named is a call with nothing but a name that matters, and numbers.
func named(path int) shape {
	return shape{path: path, text: seccomp.NoArg, in: seccomp.NoArg, inSize: seccomp.NoArg, out: seccomp.NoArg,
		outSize: seccomp.NoArg, flags: seccomp.NoArg}
}

// flagged is a call with an argument that says whether it follows links.
func flagged(s shape, flags int) shape {
	s.flags = flags
	return s
}

// ofLink is a call about a link itself, if there is one at the end of the name.
func ofLink(s shape) shape {
	s.never = true
	return s
}

// filling is a call that fills a structure.
func filling(path, out, size int) shape {
	s := named(path)
	s.out, s.fixed = out, size
	return s
}

// reading is a call that fills a buffer whose size is the next argument.
func reading(path, out int) shape {
	s := named(path)
	s.out, s.outSize = out, out+1
	return s
}

func opening(path int) shape {
	s := named(path)
	s.opens = true
	return s
}

func linking(path, out int) shape {
	s := reading(path, out)
	s.links = true
	return s
}

// aboutAttribute is a call about the extended attribute that its second argument names.
func aboutAttribute(s shape) shape {
	s.text = 1
	return s
}

// writing is a call that takes bytes; a size that is noArg is fixed.
func writing(s shape, in, inSize, fixed int) shape {
	s.in, s.inSize, s.fixed = in, inSize, fixed
	return s
}

// Sizes of structures that package unix has no fixed ones for.
const (
	sizeofTimes  = 2 * int(unsafe.Sizeof(unix.Timespec{}))
	sysFchmodat2 = 452 // on all machines, since Linux 6.6
)

// procCalls are those that every machine has.
var procCalls = map[int32]shape{
	unix.SYS_OPENAT:      opening(1),
	unix.SYS_NEWFSTATAT:  flagged(filling(1, 2, int(unsafe.Sizeof(unix.Stat_t{}))), 3),
	unix.SYS_STATX:       flagged(filling(1, 4, int(unsafe.Sizeof(unix.Statx_t{}))), 2),
	unix.SYS_STATFS:      filling(0, 1, int(unsafe.Sizeof(unix.Statfs_t{}))),
	unix.SYS_READLINKAT:  linking(1, 2),
	unix.SYS_FACCESSAT:   named(1),
	unix.SYS_FACCESSAT2:  flagged(named(1), 3),
	unix.SYS_FCHMODAT:    named(1),
	sysFchmodat2:         flagged(named(1), 3),
	unix.SYS_FCHOWNAT:    flagged(named(1), 4),
	unix.SYS_LINKAT:      flagged(named(1), 4), // gives a name to a file without one
	unix.SYS_UTIMENSAT:   flagged(writing(named(1), 2, seccomp.NoArg, sizeofTimes), 3),
	unix.SYS_SETXATTR:    aboutAttribute(writing(named(0), 2, 3, 0)),
	unix.SYS_GETXATTR:    aboutAttribute(reading(0, 2)),
	unix.SYS_LISTXATTR:   reading(0, 1),
	unix.SYS_REMOVEXATTR: aboutAttribute(named(0)),
}

// shapes are all calls with names that this machine has.
func shapes() map[int32]shape {
	all := map[int32]shape{}
	for _, calls := range []map[int32]shape{procCalls, olderProcCalls} {
		for nr, s := range calls {
			all[nr] = s
		}
	}
	return all
}

// addProcCalls adds the calls to those that are asked about. Most calls for the state of a file are about a
// descriptor, which a filter can see.
func addProcCalls(calls map[seccomp.Key]seccomp.Call, native uint32, procShapes map[int32]shape) {
	flags := map[int32]int{unix.SYS_NEWFSTATAT: 3, unix.SYS_STATX: 2}
	for nr, s := range procShapes {
		c := seccomp.Call{Op: seccomp.OpLook, Dir: seccomp.NoArg, Path: s.path, Flags: seccomp.NoArg}
		if arg, ok := flags[nr]; ok {
			c.Flags = arg
		}
		calls[seccomp.Key{Arch: native, Number: nr}] = c
	}
}

// look makes a call that names something in /proc. It may take as long as the opening of a pipe, and is given
// an answer by another thread.
func (s *Supervisor) look(q *notification) error {
	call := s.procCalls[q.Data.Nr]
	name, err := readString(q.PID, q.Data.Args[call.path])
	if err != nil {
		return errLeave // of a user whose memory only CAP_SYS_PTRACE could read, or a mistake, which the kernel tells
	}
	n, inside := parseProcName(name, q.PID, call.nofollow(q))
	if !inside {
		return errLeave
	}
	question := *q
	go func() {
		value, err := s.lookAt(&question, call, n)
		if !errors.Is(err, errAnswered) {
			s.reply(&question, value, err)
		}
	}()
	return errAnswered
}

// lookAt makes the call, with another name.
func (s *Supervisor) lookAt(q *notification, call shape, n procName) (int64, error) {
	if err := s.mayLook(q, call, n); err != nil {
		return 0, errnoOf(err)
	}
	if call.opens {
		return 0, s.lookInto(q, call, n)
	}
	fd, name, err := s.openProcName(q, n, call.nofollow(q))
	if err != nil {
		return 0, errnoOf(err)
	}
	defer unix.Close(fd)
	if !s.valid(q) {
		return 0, unix.EINTR // killed
	}
	if call.links {
		return s.lookAtLink(q, call, n, name)
	}
	if q.Data.Nr == unix.SYS_LINKAT {
		return 0, s.linkFrom(q, name)
	}
	args := q.Data.Args
	if call.path == 1 {
		args[0] = uint64(0xffffffffffffff9c) // AT_FDCWD
	}
	var buffers [][]byte
	share := func(arg int, data []byte) {
		buffers = append(buffers, data)
		args[arg] = uint64(uintptr(unsafe.Pointer(&data[0])))
	}
	share(call.path, append([]byte(name), 0))
	if call.text != seccomp.NoArg {
		text, err := readString(q.PID, args[call.text])
		if err != nil {
			return 0, unix.EFAULT
		}
		share(call.text, append([]byte(text), 0))
	}
	if call.in != seccomp.NoArg && args[call.in] != 0 {
		data := make([]byte, max(1, call.size(call.inSize, q)))
		if err := ReadMemory(q.PID, q.Data.Args[call.in], data[:call.size(call.inSize, q)]); err != nil {
			return 0, unix.EFAULT
		}
		share(call.in, data)
	}
	var out []byte
	if call.out != seccomp.NoArg && call.size(call.outSize, q) > 0 {
		out = make([]byte, call.size(call.outSize, q))
		share(call.out, out)
	}
	value, _, errno := unix.Syscall6(uintptr(q.Data.Nr), uintptr(args[0]), uintptr(args[1]), uintptr(args[2]),
		uintptr(args[3]), uintptr(args[4]), uintptr(args[5]))
	runtime.KeepAlive(buffers)
	if errno != 0 {
		return 0, errno
	}
	if call.outSize != seccomp.NoArg && int(value) < len(out) {
		out = out[:value]
	}
	if !s.valid(q) {
		return 0, unix.EINTR // killed
	}
	if err := writeMemory(q.PID, q.Data.Args[max(0, call.out)], out); err != nil {
		return 0, unix.EFAULT
	}
	return int64(value), nil
}

// lookAtLink answers with the text of a link.
func (s *Supervisor) lookAtLink(q *notification, call shape, n procName, name string) (int64, error) {
	own := strconv.FormatUint(uint64(q.PID), 10)
	if n.file == "self" || n.file == "thread-self" { // another process here
		return s.giveText(q, call, path.Join(followProcLink(n.file, own)...))
	}
	text, err := os.Readlink(name)
	if err != nil {
		return 0, errnoOf(err)
	}
	if n.link && n.rest == "" {
		if root, err := os.Readlink("/proc/" + own + "/root"); err == nil && dirfd.Within(text, root) {
			text = "/" + strings.TrimPrefix(strings.TrimPrefix(text, root), "/")
		}
	}
	return s.giveText(q, call, text)
}

// linkFrom makes a link to an open file of the caller.
func (s *Supervisor) linkFrom(q *notification, name string) error {
	dir, base, err := s.openParent(q, seccomp.Call{Dir: 2, Path: 3, Flags: seccomp.NoArg})
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(dir)
	if !s.valid(q) {
		return unix.EINTR // killed
	}
	if err := unix.Linkat(unix.AT_FDCWD, name, dir, base, int(q.Data.Args[4])); err != nil {
		return errnoOf(err)
	}
	return nil
}

// mostBytes is more than any attribute or link has.
const mostBytes = 1 << 16

// size is that of a buffer.
func (c shape) size(arg int, q *notification) int {
	if arg == seccomp.NoArg {
		return c.fixed
	}
	return int(min(q.Data.Args[arg], mostBytes))
}

// giveText answers with the text of a link.
func (s *Supervisor) giveText(q *notification, call shape, text string) (int64, error) {
	data := []byte(text)
	data = data[:min(len(data), call.size(call.outSize, q))]
	if !s.valid(q) {
		return 0, unix.EINTR
	}
	if err := writeMemory(q.PID, q.Data.Args[call.out], data); err != nil {
		return 0, unix.EFAULT
	}
	return int64(len(data)), nil
}

// opensForWriting reports whether a call opens a file to change it.
func opensForWriting(q *notification, call shape) bool {
	return q.Data.Args[call.path+1]&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) != 0
}

// openFlags are those of open(2). openat2(2) refuses what that ignores.
const openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC | unix.O_APPEND | unix.O_NONBLOCK |
	unix.O_SYNC | unix.O_DIRECT |
	unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_TMPFILE

// howToOpen is what a process asks for.
func howToOpen(q *notification, call shape) unix.OpenHow {
	flags := q.Data.Args[call.path+1] & (openFlags | unix.O_PATH)
	if flags&unix.O_PATH != 0 {
		return unix.OpenHow{Flags: flags&(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW) | unix.O_CLOEXEC}
	}
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC | unix.O_NOCTTY}
	if flags&unix.O_CREAT != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		how.Mode = q.Data.Args[call.path+2] & 0o7777
	}
	return how
}

// lookInto opens a file for a process and gives it a descriptor.
func (s *Supervisor) lookInto(q *notification, call shape, n procName) error {
	if opensForWriting(q, call) && n.process() == 0 {
		return unix.EROFS
	}
	how := howToOpen(q, call)
	var fd int
	var err error
	switch {
	case n.rest != "":
		fd, err = s.findBehind(q, n, n.rest, how)
	case n.link:
		fd, err = unix.Openat(s.proc, n.file, int(how.Flags), uint32(how.Mode))
	default:
		how.Resolve = inProc(0).Resolve
		fd, err = dirfd.Openat2(s.proc, n.file, &how)
	}
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(fd)
	added := addFD{ID: q.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SEND, Source: uint32(fd),
		NewFlags: uint32(q.Data.Args[call.path+1] & unix.O_CLOEXEC)}
	if err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&added)); err != nil &&
		!errors.Is(err, unix.ENOENT) {
		return errnoOf(err) // ENOENT: killed
	}
	return errAnswered
}

// errnoOf is the number of an error, which a caller gets.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}
