// SPDX-License-Identifier: Apache-2.0

// Package supervise answers system calls of a container's programs in place of the kernel
// (seccomp_unotify(2)): pid 1 of the container installs a filter and is notified of each call that it picks.
// Start says which those are, by Options:
//
//   - Owners, where a user namespace has a single id: chown(2), stat(2), setuid(2) and the like work as if all ids
//     were there; owners are kept in extended attributes (package owners), access control lists as well, and the
//     credentials of a process are remembered for as long as it lives;
//   - SmallOffsets, for 32-bit programs under an emulator, which could not hold the offsets of getdents64(2);
//   - Mounts: mount(2) and umount2(2) of programs that must not have CAP_SYS_ADMIN;
//   - Clones: FICLONE of ioctl(2), where the file system cannot share blocks;
//   - Proc, in a container that cannot mount: a proxy for names in /proc.
//
// It neither starts programs nor makes the container: package run does.
package supervise

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// Pid 1 of a container answers some system calls of its programs itself (seccomp_unotify(2)): where there is a single
// id, those about owners, for 32-bit programs under an emulator getdents64(2), see getdents.go, those that mount, see
// mount.go, and without mounts those that look at /proc, see procproxy.go. One filter in the kernel picks the calls;
// Supervisor.serve gets them one at a time, and answers or leaves them to the kernel.
//
// Whoever asks may change what its arguments point to meanwhile. That is no danger here: pid 1 reads them
// once, looks names up in their root directory, and what it leaves to the kernel is done with the rights of
// who asks.

// notification is struct seccomp_notif of linux/seccomp.h: a question of the kernel. PID is that of a thread.
type notification struct {
	ID    uint64
	PID   uint32
	Flags uint32
	Data  seccomp.Data
}

// response is struct seccomp_notif_resp of linux/seccomp.h.
type response struct {
	ID    uint64
	Value int64
	Error int32
	Flags uint32
}

// addFD is struct seccomp_notif_addfd of linux/seccomp.h.
type addFD struct {
	ID       uint64
	Flags    uint32
	Source   uint32
	New      uint32
	NewFlags uint32
}

// Supervisor answers for one container.
type Supervisor struct {
	listener  int
	proc      int    // /proc of the container's processes
	buf       []byte // glibc asks for 32 KiB of a directory at a time
	table     credentialTable
	calls     map[seccomp.Key]seccomp.Call
	owners    bool            // calls has those about owners
	foreign   bool            // the processes have other numbers in proc
	nested    bool            // the container has a user namespace of its own
	sys       int             // /sys of the container
	mounts    []uint64        // those that programs have asked for
	procCalls map[int32]shape // the calls that may look at /proc

	mu   sync.Mutex
	lost error // the first owner that could not be noted
}

// Options choose which system calls of a container are answered.
type Options struct {
	// Owners is for a container with a single id: calls about owners are answered by notes in extended attributes.
	Owners bool
	// SmallOffsets has getdents64(2) return places in directories that 32-bit programs can hold, under an emulator.
	SmallOffsets bool
	// Proc is for a container without mounts: names in /proc are looked up in that of pid 1.
	Proc bool
	// Mounts answers mount(2) and umount2(2), in a container that has namespaces of its own.
	Mounts bool
	// Clones copies files for programs that ask to share their blocks.
	Clones bool
	// Nested says that the container has a user namespace of its own.
	Nested bool
}

// Start begins to answer for what this thread starts from now on; the thread must be locked. The filter cannot be taken
// off again. The error wraps unix.EBUSY if somebody else answers already.
func Start(o Options) (*Supervisor, error) {
	native, ok := seccomp.AuditArches[runtime.GOARCH]
	calls := map[seccomp.Key]seccomp.Call{}
	if o.Owners {
		if !ok {
			return nil, fmt.Errorf("keep owners with a single id: not on %s", runtime.GOARCH)
		}
		calls = seccomp.OwnerCalls(native)
	}
	owners := len(calls) > 0
	if o.SmallOffsets && ok { // a 32-bit machine's file systems know what its programs can hold
		calls[seccomp.Key{Arch: native, Number: unix.SYS_GETDENTS64}] = seccomp.Call{Op: seccomp.OpGetdents}
	}
	parent := "1"
	var procShapes map[int32]shape
	if o.Proc {
		if !ok {
			return nil, fmt.Errorf("share programs a /proc: not on %s", runtime.GOARCH)
		}
		parent, procShapes = strconv.Itoa(os.Getpid()), shapes()
		addProcCalls(calls, native, procShapes)
	}
	needsProc := len(calls) > 0
	if o.Mounts {
		if !ok {
			return nil, fmt.Errorf("mount for programs: not on %s", runtime.GOARCH)
		}
		addMounts(calls, native)
	}
	if o.Clones && ok {
		addClone(calls, native)
	}
	s := &Supervisor{buf: make([]byte, math.MaxUint16), calls: calls, owners: owners, procCalls: procShapes,
		nested: o.Nested}
	var err error
	if s.proc, err = openPath("/proc"); err != nil {
		return nil, fmt.Errorf("answer for programs: open /proc: %w", err)
	}
	if s.sys, err = openPath("/sys"); err != nil {
		return nil, fmt.Errorf("answer for programs: open /sys: %w", err)
	}
	self, err := os.Readlink("/proc/self")
	if s.foreign = self != parent; err != nil || s.foreign && needsProc {
		return nil, fmt.Errorf("answer for programs: /proc is not that of the container (%q, %w)", self, err)
	}
	filter := seccomp.Compile(calls)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// A signal must not end a call that has been answered: a directory's entries would be lost.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&program)))
	if errno == unix.EINVAL && !needsProc {
		// Before Linux 5.19. A call that mounts is seldom, and can be made again.
		fd, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
			unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	}
	if errno != 0 {
		return nil, fmt.Errorf("answer for programs: %w", errno)
	}
	s.listener = int(fd)
	// The two take turns, so the other is best woken on this processor. Where the kernel cannot, it costs a
	// little time.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS,
		unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	// While this thread starts the program, by vfork(2), the Go runtime takes it for running.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	go s.serve()
	return s, nil
}

// TryListen finds out whether somebody else answers the system calls of this process, by what it cannot undo:
// it must have nothing else to do.
func TryListen() error {
	runtime.LockOSThread()
	filter := seccomp.Compile(nil)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&program)))
	if errno == unix.EBUSY {
		return errno
	}
	return nil // all else is found out in other ways
}

// openPath opens a directory that is only looked up from.
func openPath(name string) (int, error) {
	return unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// serve answers until this process ends.
func (s *Supervisor) serve() {
	for {
		var question notification
		if err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&question)); err != nil {
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // the thread was killed meanwhile
				continue
			}
			panic(fmt.Sprintf("BUG: receive a seccomp notification: %v", err))
		}
		value, err := s.answer(&question)
		if !errors.Is(err, errAnswered) {
			s.reply(&question, value, err)
		}
	}
}

// reply tells the caller what its call gives.
func (s *Supervisor) reply(q *notification, value int64, err error) {
	answer := response{ID: q.ID}
	var errno unix.Errno
	var lost *owners.LostError
	switch {
	case err == nil:
		answer.Value = value
	case errors.Is(err, errLeave):
		answer.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	case errors.As(err, &lost):
		s.lose(lost)
		answer.Error = -int32(unix.EIO)
	case errors.As(err, &errno):
		answer.Error = -int32(errno)
	default:
		panic(fmt.Sprintf("BUG: answer a system call: %v", err))
	}
	// Fails if the thread was killed meanwhile.
	_ = ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer))
}

// KeepsOwners reports whether programs become users only as far as the supervisor says so.
func (s *Supervisor) KeepsOwners() bool { return s != nil && s.owners }

// SetUser makes a user of this thread, and so of what it starts.
func (s *Supervisor) SetUser(u *specs.User) error {
	who := credentials{}
	for kind := range seccomp.IDKinds {
		if who.ids[kind] = u.UID; kind >= seccomp.RealGroup {
			who.ids[kind] = u.GID
		}
	}
	who.groups = packGroups(u.AdditionalGids)
	if who == (credentials{}) {
		return nil
	}
	return s.table.set(s.proc, uint32(unix.Gettid()), who)
}

// lose remembers that an owner is not known any more. The container then fails, whatever its program says.
func (s *Supervisor) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = err
	}
}

// Err is what went wrong so far.
func (s *Supervisor) Err() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// What answer may give beside a value, a unix.Errno and a lostOwner.
var (
	// errLeave says that the kernel had better make the call itself. Nothing has been done then.
	errLeave = errors.New("leave it to the kernel")
	// errAnswered says that the caller has its answer already.
	errAnswered = errors.New("answered")
)

// valid reports whether the caller still waits. If so, what was opened of /proc/PID before is the caller's,
// and not of a process that got its number since.
func (s *Supervisor) valid(q *notification) bool {
	return ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&q.ID)) == nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
