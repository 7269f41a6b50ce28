// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Key names a system call: numbers differ between the machines, and a PC runs 32-bit programs with numbers of their
// own.
type Key struct {
	Arch   uint32
	Number int32
}

// Offsets in a seccompData.
const (
	offsetNr   = uint32(unsafe.Offsetof(Data{}.Nr))
	offsetArch = uint32(unsafe.Offsetof(Data{}.Arch))
	offsetArgs = uint32(unsafe.Offsetof(Data{}.Args))
)

// offsetLow is where the lower half of an argument is.
func offsetLow(arg int) uint32 {
	at := offsetArgs + uint32(arg)*8
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		at += 4
	}
	return at
}

// Compile makes the filter that asks about calls and lets all others pass. Of a kind of programs none of
// whose calls are known, each is let pass too.
func Compile(calls map[Key]Call) []unix.SockFilter {
	raw, err := bpf.Assemble(instructions(calls))
	if err != nil {
		panic(fmt.Sprintf("BUG: assemble the filter of system calls: %v", err))
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter
}

// What a filter says of a call.
var (
	ask    = bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
	allow  = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	enosys = bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
)

// load reads a word of a seccompData.
func load(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 4} }

// unless skips the next instructions where the word that was read is not val.
func unless(val uint32, skip int) bpf.Instruction {
	return bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipFalse: uint8(skip)}
}

// instructions are the program of a filter, in a fixed order, to ease debugging.
func instructions(calls map[Key]Call) []bpf.Instruction {
	keys := slices.SortedFunc(maps.Keys(calls), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Number, b.Number))
	})
	filter := []bpf.Instruction{load(offsetArch)}
	for len(keys) > 0 {
		arch := keys[0].Arch
		block := []bpf.Instruction{load(offsetNr)}
		for len(keys) > 0 && keys[0].Arch == arch {
			verdict := judge(calls[keys[0]])
			block = append(append(block, unless(uint32(keys[0].Number), len(verdict))), verdict...)
			keys = keys[1:]
		}
		block = append(block, allow)
		// A block is longer than a conditional jump reaches.
		filter = append(filter,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(block))})
		filter = append(filter, block...)
	}
	return append(filter, allow)
}

// judge returns the instructions that end the filter for a call.
func judge(c Call) []bpf.Instruction {
	switch {
	case c.Op == opMissing:
		return []bpf.Instruction{enosys}
	case c.Op == OpOpen && c.Flags != NoArg: // about files that are made
		const makes = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
		return []bpf.Instruction{
			load(offsetLow(c.Flags)), bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: makes, SkipFalse: 1}, ask, allow,
		}
	case c.Op == OpLook && c.Flags != NoArg: // not about a descriptor
		return []bpf.Instruction{
			load(offsetLow(c.Flags)), bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.AT_EMPTY_PATH, SkipTrue: 1},
			ask, allow,
		}
	case c.Op == OpClone: // not about other requests
		return []bpf.Instruction{load(offsetLow(c.Arg)), unless(unix.FICLONE, 1), ask, allow}
	default:
		return []bpf.Instruction{ask}
	}
}
