package oci

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callKey names a system call: numbers differ between the machines, and a PC runs 32-bit programs with numbers of their
// own.
type callKey struct {
	arch uint32
	nr   int32
}

// Offsets in a seccompData.
const (
	offsetNr   = uint32(unsafe.Offsetof(seccompData{}.Nr))
	offsetArch = uint32(unsafe.Offsetof(seccompData{}.Arch))
	offsetArgs = uint32(unsafe.Offsetof(seccompData{}.Args))
)

// offsetLow is where the lower half of an argument is.
func offsetLow(arg int) uint32 {
	at := offsetArgs + uint32(arg)*8
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		at += 4
	}
	return at
}

// compile makes the filter that asks about calls and lets all others pass. Of a kind of programs none of whose calls are
// known, each is let pass too.
func compile(calls map[callKey]call) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		bits  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		done  = unix.BPF_RET | unix.BPF_K
		jump  = unix.BPF_JMP | unix.BPF_JA
	)
	// In a fixed order, to ease debugging.
	keys := slices.SortedFunc(maps.Keys(calls), func(a, b callKey) int {
		return cmp.Or(cmp.Compare(a.arch, b.arch), cmp.Compare(a.nr, b.nr))
	})
	filter := []unix.SockFilter{{Code: load, K: offsetArch}}
	for len(keys) > 0 {
		arch := keys[0].arch
		block := []unix.SockFilter{{Code: load, K: offsetNr}}
		for len(keys) > 0 && keys[0].arch == arch {
			c := calls[keys[0]]
			nr := uint32(keys[0].nr)
			keys = keys[1:]
			switch {
			case c.op == opMissing:
				block = append(block, unix.SockFilter{Code: equal, K: nr, Jf: 1},
					unix.SockFilter{Code: done, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
			case c.op == opOpen && c.flags != noArg:
				block = append(block, unix.SockFilter{Code: equal, K: nr, Jf: 4},
					unix.SockFilter{Code: load, K: offsetLow(c.flags)},
					unix.SockFilter{Code: bits, K: unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY, Jf: 1},
					unix.SockFilter{Code: done, K: unix.SECCOMP_RET_USER_NOTIF},
					unix.SockFilter{Code: done, K: unix.SECCOMP_RET_ALLOW})
			case c.op == opLook && c.flags != noArg:
				block = append(block, unix.SockFilter{Code: equal, K: nr, Jf: 4},
					unix.SockFilter{Code: load, K: offsetLow(c.flags)},
					unix.SockFilter{Code: bits, K: unix.AT_EMPTY_PATH, Jt: 1}, // about a descriptor
					unix.SockFilter{Code: done, K: unix.SECCOMP_RET_USER_NOTIF},
					unix.SockFilter{Code: done, K: unix.SECCOMP_RET_ALLOW})
			default:
				block = append(block, unix.SockFilter{Code: equal, K: nr, Jf: 1},
					unix.SockFilter{Code: done, K: unix.SECCOMP_RET_USER_NOTIF})
			}
		}
		block = append(block, unix.SockFilter{Code: done, K: unix.SECCOMP_RET_ALLOW})
		filter = append(filter, unix.SockFilter{Code: equal, K: arch, Jt: 1}, unix.SockFilter{Code: jump, K: uint32(len(block))})
		filter = append(filter, block...)
	}
	return append(filter, unix.SockFilter{Code: done, K: unix.SECCOMP_RET_ALLOW})
}
