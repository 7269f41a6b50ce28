package oci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A directory's entries carry its place in the directory, which ext4 makes a hash of 63 bits for 64-bit programs. An
// emulator is one, and hands them on to a program that keeps 32 bits. The C library of such a program then ends the
// directory with EOVERFLOW, or just ends it: an initramfs was made so with hardly a driver in it, and no word (glibc bug
// 23960; Debian's dracut-install on armhf, by fts(3)).
//
// So while a 32-bit kind of programs is emulated, pid 1 reads directories for the container: a seccomp filter has the
// kernel ask it for each getdents64(2), it makes the call on a copy of the descriptor, which shares the position, and
// hands on the entries with places of 31 bits. Only seekdir(3) would go wrong with these, for a program that can hold
// the long ones. What cannot be done so is left to the kernel.

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

// Where things are in a struct linux_dirent64, see getdents(2).
const (
	direntOffset = 8  // d_off, 8 bytes
	direntLength = 16 // d_reclen, 2 bytes
	direntHeader = 18
)

// answerGetdents begins to read directories for what this thread starts from now on; the thread must be locked. The
// filter cannot be taken off again.
func answerGetdents() error {
	arch, ok := auditArches[runtime.GOARCH]
	if !ok {
		return nil // a 32-bit machine, whose file systems know what its programs can hold
	}
	// Offsets in a struct seccomp_data.
	const nr, architecture = 0, 4
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: architecture},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_GETDENTS64, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// A signal must not end a call that has been answered with entries: they would be lost.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("read directories for emulated programs: %w", errno)
	}
	go serveGetdents(int(fd))
	return nil
}

// serveGetdents answers until this process ends.
func serveGetdents(listener int) {
	buf := make([]byte, math.MaxUint16) // glibc asks for 32 KiB at a time
	for {
		var question seccompNotification
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&question)); err != nil {
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // the thread was killed meanwhile
				continue
			}
			panic(fmt.Sprintf("BUG: receive a seccomp notification: %v", err))
		}
		answer := seccompAnswer{ID: question.ID}
		n, err := getdents(question, buf)
		var errno unix.Errno
		switch {
		case errors.Is(err, errLeave):
			answer.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		case errors.As(err, &errno):
			answer.Error = -int32(errno)
		default:
			answer.Value = int64(n)
		}
		// Fails if the thread was killed meanwhile.
		_ = ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer))
	}
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// errLeave says that the kernel had better make the call itself. Nothing has been read then.
var errLeave = errors.New("leave it to the kernel")

// getdents makes the call for a thread, and gives what it returns. An error is errLeave or a unix.Errno.
func getdents(q seccompNotification, buf []byte) (int, error) {
	pidfd, err := unix.PidfdOpen(int(q.PID), unix.PIDFD_THREAD)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.9 only the first thread of a process can be named
		pidfd, err = unix.PidfdOpen(int(q.PID), 0)
	}
	if err != nil {
		return 0, errLeave
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, int(int32(q.Data.Args[0])), 0)
	if err != nil {
		return 0, errLeave
	}
	defer unix.Close(fd)
	count := min(uint64(len(buf)), q.Data.Args[2]&math.MaxUint32)
	if count == 0 {
		return 0, errLeave
	}
	n, err := unix.Getdents(fd, buf[:count])
	if err != nil || n == 0 {
		return 0, err
	}
	shortenOffsets(buf[:n])
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(n)
	remote := []unix.RemoteIovec{{Base: uintptr(q.Data.Args[1]), Len: n}}
	if wrote, err := unix.ProcessVMWritev(int(q.PID), local, remote, 0); err != nil || wrote != n {
		return 0, unix.EFAULT
	}
	return n, nil
}

// shortenOffsets makes the places in directory entries fit into 31 bits. Of a hash of ext4 the upper half remains, so
// that they stay in order.
func shortenOffsets(entries []byte) {
	for len(entries) >= direntHeader {
		place := entries[direntOffset:]
		if offset := binary.NativeEndian.Uint64(place); offset > math.MaxInt32 {
			binary.NativeEndian.PutUint64(place, offset>>32)
		}
		entries = entries[binary.NativeEndian.Uint16(entries[direntLength:]):]
	}
}
