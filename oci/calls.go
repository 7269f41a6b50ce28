package oci

import "golang.org/x/sys/unix"

// operation is what a system call is for.
type operation int

const (
	opGetdents operation = iota
	opMissing            // as on a kernel without it: its arguments are out of a filter's sight
	opChown
	opStat
	opStat386 // struct stat64 of a 32-bit PC
	opStatx
	opListxattr
	opGetxattr
	opSetxattr
	opRemovexattr
	opOpen
	opMkdir
	opMknod
	opSymlink
	opExec
	opGetID
	opGetIDs
	opGetGroups
	opSetID
	opSetIDs
	opSetFSID
	opSetGroups
	opPrctl
	opLook // at something in /proc, see window.go
	opMount
	opUmount
)

// call says what a system call does and which of its arguments say to what; noArg where there is no such argument.
type call struct {
	op operation
	// dir, path and flags name a file as in openat(2); without a path dir is the file.
	dir, path, flags int
	nofollow         bool
	// arg is the first of the arguments that say what to do: ids, buffer, mode.
	arg int
	// mode is that of a new file.
	mode int
	// id is what calls about credentials are about.
	id idKind
	// short ids have 16 bits.
	short bool
}

const noArg = -1

// numbered is a system call of one machine.
type numbered struct {
	nr   int32
	call call
}

func byPath(op operation, arg int) call {
	return call{op: op, dir: noArg, path: 0, flags: noArg, arg: arg, mode: arg}
}

func byLink(op operation, arg int) call {
	c := byPath(op, arg)
	c.nofollow = true
	return c
}

func byFD(op operation, arg int) call {
	return call{op: op, dir: 0, path: noArg, flags: noArg, arg: arg}
}

func atDir(op operation, path, flags, arg int) call {
	return call{op: op, dir: 0, path: path, flags: flags, arg: arg, mode: arg}
}

func ofID(op operation, id idKind) call { return call{op: op, id: id} }

// modernCalls are those that every machine has.
var modernCalls = []numbered{
	{unix.SYS_FCHOWN, byFD(opChown, 1)},
	{unix.SYS_FCHOWNAT, atDir(opChown, 1, 4, 2)},
	{unix.SYS_FSTAT, byFD(opStat, 1)},
	{unix.SYS_NEWFSTATAT, atDir(opStat, 1, 3, 2)},
	{unix.SYS_STATX, atDir(opStatx, 1, 2, 4)},
	{unix.SYS_LISTXATTR, byPath(opListxattr, 1)},
	{unix.SYS_LLISTXATTR, byLink(opListxattr, 1)},
	{unix.SYS_FLISTXATTR, byFD(opListxattr, 1)},
	{unix.SYS_GETXATTR, byPath(opGetxattr, 1)},
	{unix.SYS_LGETXATTR, byLink(opGetxattr, 1)},
	{unix.SYS_FGETXATTR, byFD(opGetxattr, 1)},
	{unix.SYS_SETXATTR, byPath(opSetxattr, 1)},
	{unix.SYS_LSETXATTR, byLink(opSetxattr, 1)},
	{unix.SYS_FSETXATTR, byFD(opSetxattr, 1)},
	{unix.SYS_REMOVEXATTR, byPath(opRemovexattr, 1)},
	{unix.SYS_LREMOVEXATTR, byLink(opRemovexattr, 1)},
	{unix.SYS_FREMOVEXATTR, byFD(opRemovexattr, 1)},
	{unix.SYS_OPENAT, call{op: opOpen, dir: 0, path: 1, flags: 2, mode: 3}},
	{unix.SYS_MKDIRAT, atDir(opMkdir, 1, noArg, 2)},
	{unix.SYS_MKNODAT, atDir(opMknod, 1, noArg, 2)},
	{unix.SYS_SYMLINKAT, call{op: opSymlink, dir: 1, path: 2, flags: noArg, arg: 0}},
	{unix.SYS_EXECVE, byPath(opExec, 1)},
	{unix.SYS_EXECVEAT, atDir(opExec, 1, 4, 2)},
	{unix.SYS_GETUID, ofID(opGetID, realUser)},
	{unix.SYS_GETEUID, ofID(opGetID, effectiveUser)},
	{unix.SYS_GETGID, ofID(opGetID, realGroup)},
	{unix.SYS_GETEGID, ofID(opGetID, effectiveGroup)},
	{unix.SYS_GETRESUID, ofID(opGetIDs, realUser)},
	{unix.SYS_GETRESGID, ofID(opGetIDs, realGroup)},
	{unix.SYS_GETGROUPS, ofID(opGetGroups, 0)},
	{unix.SYS_SETUID, ofID(opSetID, realUser)},
	{unix.SYS_SETGID, ofID(opSetID, realGroup)},
	{unix.SYS_SETREUID, call{op: opSetIDs, id: realUser, arg: 2}},
	{unix.SYS_SETREGID, call{op: opSetIDs, id: realGroup, arg: 2}},
	{unix.SYS_SETRESUID, call{op: opSetIDs, id: realUser, arg: 3}},
	{unix.SYS_SETRESGID, call{op: opSetIDs, id: realGroup, arg: 3}},
	{unix.SYS_SETFSUID, ofID(opSetFSID, realUser)},
	{unix.SYS_SETFSGID, ofID(opSetFSID, realGroup)},
	{unix.SYS_SETGROUPS, ofID(opSetGroups, 0)},
	{unix.SYS_PRCTL, ofID(opPrctl, 0)},
	// What these are about is not in their arguments. Programs go on without them.
	{unix.SYS_OPENAT2, call{op: opMissing}},
	{unix.SYS_IO_URING_SETUP, call{op: opMissing}},
	{unix.SYS_LISTXATTRAT, call{op: opMissing}},
	{unix.SYS_GETXATTRAT, call{op: opMissing}},
	{unix.SYS_SETXATTRAT, call{op: opMissing}},
	{unix.SYS_REMOVEXATTRAT, call{op: opMissing}},
}

// ownerCalls are all calls about owners, of programs that this machine runs.
func ownerCalls(native uint32) map[callKey]call {
	all := map[callKey]call{}
	for _, calls := range [][]numbered{modernCalls, olderCalls} {
		for _, c := range calls {
			all[callKey{native, c.nr}] = c.call
		}
	}
	for _, c := range compatCalls {
		all[callKey{compatArch, c.nr}] = c.call
	}
	return all
}
