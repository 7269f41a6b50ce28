package oci

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
)

// Pid 1 of a container answers some system calls of its programs itself (seccomp_unotify(2)): where there is a single
// id, those about owners, for 32-bit programs under an emulator getdents64(2), see getdents.go, those that mount, see
// mountservice.go, and without mounts those that look at /proc, see window.go. One filter in the kernel picks the calls; supervisor.serve gets them one at a time, and answers or leaves them to the kernel.
//
// Whoever asks may change what its arguments point to meanwhile. That is no danger here: pid 1 reads them once, looks names up
// in their root directory, and what it leaves to the kernel is done with the rights of who asks.

// annotationSingle is there if the container has a single id.
const annotationSingle = "vmdebootstrap.single-id"

// auditArches are the kernel's names of the machines that this program is made for, in filters.
var auditArches = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "loong64": unix.AUDIT_ARCH_LOONGARCH64,
	"ppc64le": unix.AUDIT_ARCH_PPC64LE, "riscv64": unix.AUDIT_ARCH_RISCV64, "s390x": unix.AUDIT_ARCH_S390X,
}

// seccompData is struct seccomp_data of linux/seccomp.h: a system call.
type seccompData struct {
	Nr   int32
	Arch uint32
	IP   uint64
	Args [6]uint64
}

// seccompNotification is struct seccomp_notif of linux/seccomp.h: a question of the kernel. PID is that of a thread.
type seccompNotification struct {
	ID    uint64
	PID   uint32
	Flags uint32
	Data  seccompData
}

// seccompAnswer is struct seccomp_notif_resp of linux/seccomp.h.
type seccompAnswer struct {
	ID    uint64
	Value int64
	Error int32
	Flags uint32
}

// Requests of linux/seccomp.h that package unix lacks.
const (
	notifIDValid  = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	notifSetFlags = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6
)

// supervisor answers for one container.
type supervisor struct {
	listener int
	proc     int    // /proc of the container's processes
	buf      []byte // glibc asks for 32 KiB of a directory at a time
	people   people
	calls    map[callKey]call
	owners   bool            // calls has those about owners
	foreign  bool            // the processes have other numbers in proc
	nested   bool            // the container has a user namespace of its own
	sys      int             // /sys of the container
	mounts   []uint64        // those that programs have asked for
	window   map[int32]shape // the calls that may look at /proc

	mu   sync.Mutex
	lost error // the first owner that could not be noted
}

// supervise begins to answer for what this thread starts from now on; the thread must be locked. The filter cannot be taken
// off again.
func supervise(spec *specs.Spec) (*supervisor, error) {
	native, ok := auditArches[runtime.GOARCH]
	calls := map[callKey]call{}
	if spec.Annotations[annotationSingle] != "" {
		if !ok {
			return nil, fmt.Errorf("keep owners with a single id: not on %s", runtime.GOARCH)
		}
		calls = ownerCalls(native)
	}
	owners := len(calls) > 0
	if spec.Annotations[annotationSmall] != "" && ok { // a 32-bit machine's file systems know what its programs can hold
		calls[callKey{native, unix.SYS_GETDENTS64}] = call{op: opGetdents}
	}
	parent := "1"
	var window map[int32]shape
	if spec.Annotations[annotationWindow] != "" {
		if !ok {
			return nil, fmt.Errorf("lend programs a /proc: not on %s", runtime.GOARCH)
		}
		parent, window = strconv.Itoa(os.Getpid()), shapes()
		addWindow(calls, native, window)
	}
	needsProc := len(calls) > 0
	if isolated(spec) {
		if !ok {
			return nil, fmt.Errorf("mount for programs: not on %s", runtime.GOARCH)
		}
		addMounts(calls, native)
	}
	s := &supervisor{buf: make([]byte, math.MaxUint16), calls: calls, owners: owners, window: window, nested: nested(spec)}
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
	filter := compile(calls)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// A signal must not end a call that has been answered: a directory's entries would be lost.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno == unix.EINVAL && !needsProc {
		// Before Linux 5.19. A call that mounts is seldom, and can be made again.
		fd, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	}
	if errno == unix.EBUSY {
		return nil, &refusal{tryListener, "answer for programs", errno}
	}
	if errno != 0 {
		return nil, fmt.Errorf("answer for programs: %w", errno)
	}
	s.listener = int(fd)
	// The two take turns, so the other is best woken on this processor. Where the kernel cannot, it costs a little time.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, notifSetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	// While this thread starts the program, by vfork(2), the Go runtime takes it for running.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	go s.serve()
	return s, nil
}

// tryListen finds out whether somebody else answers the system calls of this process, by what it cannot undo: it must have
// nothing else to do.
func tryListen() error {
	runtime.LockOSThread()
	filter := compile(nil)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
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
func (s *supervisor) serve() {
	for {
		var question seccompNotification
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
func (s *supervisor) reply(q *seccompNotification, value int64, err error) {
	answer := seccompAnswer{ID: q.ID}
	var errno unix.Errno
	var lost *lostOwner
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

// keepsOwners reports whether programs become users only as far as the supervisor says so.
func (s *supervisor) keepsOwners() bool { return s != nil && s.owners }

// be makes a user of this thread, and so of what it starts.
func (s *supervisor) be(u *specs.User) error {
	who := credentials{}
	for kind := range idKinds {
		if who.ids[kind] = u.UID; kind >= realGroup {
			who.ids[kind] = u.GID
		}
	}
	who.groups = packGroups(u.AdditionalGids)
	if who == (credentials{}) {
		return nil
	}
	return s.people.become(s.proc, uint32(unix.Gettid()), who)
}

// lose remembers that an owner is not known any more. The container then fails, whatever its program says.
func (s *supervisor) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = err
	}
}

// err is what went wrong so far.
func (s *supervisor) err() error {
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

// valid reports whether the caller still waits. If so, what was opened of /proc/PID before is the caller's, and not of a
// process that got its number since.
func (s *supervisor) valid(q *seccompNotification) bool {
	return ioctl(s.listener, notifIDValid, unsafe.Pointer(&q.ID)) == nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
