// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || ppc64le || s390x

package seccomp

import "golang.org/x/sys/unix"

// olderCalls are those that newer machines have only in the form with a directory.
var olderCalls = []Numbered{
	{unix.SYS_CHOWN, ByPath(OpChown, 1)},
	{unix.SYS_LCHOWN, byLink(OpChown, 1)},
	{unix.SYS_STAT, ByPath(OpStat, 1)},
	{unix.SYS_LSTAT, byLink(OpStat, 1)},
	{unix.SYS_OPEN, Call{Op: OpOpen, Dir: NoArg, Path: 0, Flags: 1, Mode: 2}},
	{unix.SYS_CREAT, Call{Op: OpOpen, Dir: NoArg, Path: 0, Flags: NoArg, Mode: 1}},
	{unix.SYS_MKDIR, ByPath(OpMkdir, 1)},
	{unix.SYS_MKNOD, ByPath(OpMknod, 1)},
	{unix.SYS_SYMLINK, Call{Op: OpSymlink, Dir: NoArg, Path: 1, Flags: NoArg, Arg: 0}},
}
