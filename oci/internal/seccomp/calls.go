// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"golang.org/x/sys/unix"
)

// operation is what a system call is for.
type operation int

// The operations.
const (
	OpGetdents operation = iota
	opMissing            // as on a kernel without it: its arguments are out of a filter's sight
	OpChown
	OpStat
	OpStat386 // struct stat64 of a 32-bit PC
	OpStatx
	OpListxattr
	OpGetxattr
	OpSetxattr
	OpRemovexattr
	OpOpen
	OpMkdir
	OpMknod
	OpSymlink
	OpExec
	OpGetID
	OpGetIDs
	OpGetGroups
	OpSetID
	OpSetIDs
	OpSetFSID
	OpSetGroups
	OpPrctl
	OpLook // at something in /proc, see package supervise
	OpMount
	OpUmount
	OpClone // one file to another, by ioctl(2)
)

// Call says what a system call does and which of its arguments say to what; noArg where there is no such argument.
type Call struct {
	Op operation
	// Dir, path and flags name a file as in openat(2); without a path dir is the file.
	Dir, Path, Flags int
	Nofollow         bool
	// Arg is the first of the arguments that say what to do: ids, buffer, mode.
	Arg int
	// Mode is that of a new file.
	Mode int
	// ID is what calls about credentials are about.
	ID IDKind
	// Short ids have 16 bits.
	Short bool
}

// NoArg is the index of an argument that a call does not have.
const NoArg = -1

// Numbered is a system call of one machine.
type Numbered struct {
	Number int32
	Call   Call
}

// ByPath is a call whose first argument is a path, and whose argument arg is what op is about.
func ByPath(op operation, arg int) Call {
	return Call{Op: op, Dir: NoArg, Path: 0, Flags: NoArg, Arg: arg, Mode: arg}
}

func byLink(op operation, arg int) Call {
	c := ByPath(op, arg)
	c.Nofollow = true
	return c
}

func byFD(op operation, arg int) Call {
	return Call{Op: op, Dir: 0, Path: NoArg, Flags: NoArg, Arg: arg}
}

func atDir(op operation, path, flags, arg int) Call {
	return Call{Op: op, Dir: 0, Path: path, Flags: flags, Arg: arg, Mode: arg}
}

func ofID(op operation, id IDKind) Call { return Call{Op: op, ID: id} }

// modernCalls are those that every machine has.
var modernCalls = []Numbered{
	{unix.SYS_FCHOWN, byFD(OpChown, 1)},
	{unix.SYS_FCHOWNAT, atDir(OpChown, 1, 4, 2)},
	{unix.SYS_FSTAT, byFD(OpStat, 1)},
	{unix.SYS_NEWFSTATAT, atDir(OpStat, 1, 3, 2)},
	{unix.SYS_STATX, atDir(OpStatx, 1, 2, 4)},
	{unix.SYS_LISTXATTR, ByPath(OpListxattr, 1)},
	{unix.SYS_LLISTXATTR, byLink(OpListxattr, 1)},
	{unix.SYS_FLISTXATTR, byFD(OpListxattr, 1)},
	{unix.SYS_GETXATTR, ByPath(OpGetxattr, 1)},
	{unix.SYS_LGETXATTR, byLink(OpGetxattr, 1)},
	{unix.SYS_FGETXATTR, byFD(OpGetxattr, 1)},
	{unix.SYS_SETXATTR, ByPath(OpSetxattr, 1)},
	{unix.SYS_LSETXATTR, byLink(OpSetxattr, 1)},
	{unix.SYS_FSETXATTR, byFD(OpSetxattr, 1)},
	{unix.SYS_REMOVEXATTR, ByPath(OpRemovexattr, 1)},
	{unix.SYS_LREMOVEXATTR, byLink(OpRemovexattr, 1)},
	{unix.SYS_FREMOVEXATTR, byFD(OpRemovexattr, 1)},
	{unix.SYS_OPENAT, Call{Op: OpOpen, Dir: 0, Path: 1, Flags: 2, Mode: 3}},
	{unix.SYS_MKDIRAT, atDir(OpMkdir, 1, NoArg, 2)},
	{unix.SYS_MKNODAT, atDir(OpMknod, 1, NoArg, 2)},
	{unix.SYS_SYMLINKAT, Call{Op: OpSymlink, Dir: 1, Path: 2, Flags: NoArg, Arg: 0}},
	{unix.SYS_EXECVE, ByPath(OpExec, 1)},
	{unix.SYS_EXECVEAT, atDir(OpExec, 1, 4, 2)},
	{unix.SYS_GETUID, ofID(OpGetID, RealUser)},
	{unix.SYS_GETEUID, ofID(OpGetID, EffectiveUser)},
	{unix.SYS_GETGID, ofID(OpGetID, RealGroup)},
	{unix.SYS_GETEGID, ofID(OpGetID, EffectiveGroup)},
	{unix.SYS_GETRESUID, ofID(OpGetIDs, RealUser)},
	{unix.SYS_GETRESGID, ofID(OpGetIDs, RealGroup)},
	{unix.SYS_GETGROUPS, ofID(OpGetGroups, 0)},
	{unix.SYS_SETUID, ofID(OpSetID, RealUser)},
	{unix.SYS_SETGID, ofID(OpSetID, RealGroup)},
	{unix.SYS_SETREUID, Call{Op: OpSetIDs, ID: RealUser, Arg: 2}},
	{unix.SYS_SETREGID, Call{Op: OpSetIDs, ID: RealGroup, Arg: 2}},
	{unix.SYS_SETRESUID, Call{Op: OpSetIDs, ID: RealUser, Arg: 3}},
	{unix.SYS_SETRESGID, Call{Op: OpSetIDs, ID: RealGroup, Arg: 3}},
	{unix.SYS_SETFSUID, ofID(OpSetFSID, RealUser)},
	{unix.SYS_SETFSGID, ofID(OpSetFSID, RealGroup)},
	{unix.SYS_SETGROUPS, ofID(OpSetGroups, 0)},
	{unix.SYS_PRCTL, ofID(OpPrctl, 0)},
	// What these are about is not in their arguments. Programs go on without them.
	{unix.SYS_OPENAT2, Call{Op: opMissing}},
	{unix.SYS_IO_URING_SETUP, Call{Op: opMissing}},
	{unix.SYS_LISTXATTRAT, Call{Op: opMissing}},
	{unix.SYS_GETXATTRAT, Call{Op: opMissing}},
	{unix.SYS_SETXATTRAT, Call{Op: opMissing}},
	{unix.SYS_REMOVEXATTRAT, Call{Op: opMissing}},
}

// OwnerCalls are all calls about owners, of programs that this machine runs.
func OwnerCalls(native uint32) map[Key]Call {
	all := map[Key]Call{}
	for _, calls := range [][]Numbered{modernCalls, olderCalls} {
		for _, c := range calls {
			all[Key{Arch: native, Number: c.Number}] = c.Call
		}
	}
	for _, c := range compatCalls {
		all[Key{Arch: CompatArch, Number: c.Number}] = c.Call
	}
	return all
}

// IDKind is one of the ids that a process has, an index of credentials.ids. Those of groups are after those of users.
type IDKind int

// The kinds of ids, in the order of /proc/PID/status.
const (
	RealUser IDKind = iota
	EffectiveUser
	SavedUser
	FileUser
	RealGroup
	EffectiveGroup
	savedGroup
	FileGroup
	IDKinds
)
