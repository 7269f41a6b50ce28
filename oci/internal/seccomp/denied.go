// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Programs of a container cannot make system calls that no build needs: those that podman's default profile
// refuses (containers/common, pkg/seccomp/seccomp.json), keyctl(2), and the calls for mounts that came with
// Linux 5.2, whose meaning is out of a filter's sight; mount(8) then takes the old one, see package
// supervise. Some of the calls reach parts of the kernel in which mistakes were found again and again, others
// ask about what is not the container's.

// NewestCall is the last one that podman's profile knows, fchmodat2. Since Linux 5.1 new calls have the same
// number on all machines. Those after it are missing for programs; numbers of the x32 kind are far above.
const NewestCall = 452

// denials are the refused calls of one kind of programs, and what they get.
type denials struct {
	calls map[uint32]unix.Errno
	// personality and socket are the numbers of calls that are refused for some arguments; 0 if they are not looked at.
	personality, socket uint32
}

// refused adds calls that all get the same.
func (d denials) refused(errno unix.Errno, calls ...uint32) denials {
	for _, nr := range calls {
		d.calls[nr] = errno
	}
	return d
}

// nativeDenials are those of this machine's programs.
func nativeDenials() denials {
	d := newDenials(unix.SYS_PERSONALITY, unix.SYS_SOCKET).refused(unix.EPERM,
		unix.SYS_ACCT, unix.SYS_BPF, unix.SYS_CLOCK_SETTIME, unix.SYS_DELETE_MODULE, unix.SYS_FINIT_MODULE,
		unix.SYS_INIT_MODULE, unix.SYS_IO_PGETEVENTS,
		unix.SYS_KCMP, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MIGRATE_PAGES,
		unix.SYS_MOVE_PAGES,
		unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERF_EVENT_OPEN, unix.SYS_QUOTACTL,
		unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME,
		unix.SYS_SETNS, unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_USERFAULTFD,
		unix.SYS_VHANGUP, unix.SYS_VMSPLICE,
	).refused(unix.ENOSYS, unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY)
	return d.refused(unix.EPERM, olderDenied...)
}

// newDenials refuses what has the same number everywhere.
func newDenials(personality, socket uint32) denials {
	d := denials{calls: map[uint32]unix.Errno{}, personality: personality, socket: socket}
	return d.refused(unix.EPERM, unix.SYS_PROCESS_MADVISE, unix.SYS_QUOTACTL_FD).refused(unix.ENOSYS,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_FUTEX_WAITV,
		unix.SYS_SET_MEMPOLICY_HOME_NODE, unix.SYS_CACHESTAT,
		unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
		unix.SYS_MOUNT_SETATTR,
	)
}

// Deny refuses the calls to what this thread starts from now on; the thread must be locked.
func Deny() error {
	native, ok := AuditArches[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("filter system calls: not on %s", runtime.GOARCH)
	}
	all := map[uint32]denials{native: nativeDenials()}
	if CompatArch != 0 {
		all[CompatArch] = newDenials(compatPersonality, compatSocket).refused(unix.EPERM,
			compatDenied...).refused(unix.ENOSYS, compatKeys...)
	}
	filter := compileDenials(all)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
		uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}

// allowedPersonalities are those of podman's profile: none, that of 32-bit programs (linux32 of setarch(8)),
// each with the version of the kernel told as 2.6, and the question.
var allowedPersonalities = []uint32{0, 8, 0x20000, 0x20008, 0xffffffff}

// compileDenials makes the filter. Programs of other kinds than those in all get nothing done.
func compileDenials(all map[uint32]denials) []unix.SockFilter {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		greater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		jump    = unix.BPF_JMP | unix.BPF_JA
	)
	give := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	refuse := func(errno unix.Errno) unix.SockFilter { return give(unix.SECCOMP_RET_ERRNO | uint32(errno)) }
	filter := []unix.SockFilter{{Code: load, K: offsetArch}}
	for _, arch := range slices.Sorted(maps.Keys(all)) { // in a fixed order, to ease debugging
		d := all[arch]
		block := []unix.SockFilter{{Code: load, K: offsetNr}, {Code: greater, K: NewestCall, Jf: 1},
			refuse(unix.ENOSYS)}
		for _, nr := range slices.SortedFunc(maps.Keys(d.calls), cmp.Compare) {
			block = append(block, unix.SockFilter{Code: equal, K: nr, Jf: 1}, refuse(d.calls[nr]))
		}
		if d.personality != 0 {
			n := uint8(len(allowedPersonalities))
			block = append(block, unix.SockFilter{Code: equal, K: d.personality, Jf: n + 3},
				unix.SockFilter{Code: load, K: offsetLow(0)})
			for i, p := range allowedPersonalities {
				block = append(block, unix.SockFilter{Code: equal, K: p, Jt: n - uint8(i)})
			}
			block = append(block, refuse(unix.EPERM), give(unix.SECCOMP_RET_ALLOW))
		}
		if d.socket != 0 {
			// A socket of the kernel's audit, which takes nothing from a container; without it libraries go on.
			block = append(block, unix.SockFilter{Code: equal, K: d.socket, Jf: 5},
				unix.SockFilter{Code: load, K: offsetLow(0)}, unix.SockFilter{Code: equal, K: unix.AF_NETLINK, Jf: 3},
				unix.SockFilter{Code: load, K: offsetLow(2)}, unix.SockFilter{Code: equal, K: unix.NETLINK_AUDIT,
					Jf: 1}, refuse(unix.EINVAL))
		}
		block = append(block, give(unix.SECCOMP_RET_ALLOW))
		filter = append(filter, unix.SockFilter{Code: equal, K: arch, Jt: 1},
			unix.SockFilter{Code: jump, K: uint32(len(block))})
		filter = append(filter, block...)
	}
	return append(filter, refuse(unix.ENOSYS))
}
