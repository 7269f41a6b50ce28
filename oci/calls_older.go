//go:build amd64 || ppc64le || s390x

package oci

import "golang.org/x/sys/unix"

// olderCalls are those that newer machines have only in the form with a directory.
var olderCalls = []numbered{
	{unix.SYS_CHOWN, byPath(opChown, 1)},
	{unix.SYS_LCHOWN, byLink(opChown, 1)},
	{unix.SYS_STAT, byPath(opStat, 1)},
	{unix.SYS_LSTAT, byLink(opStat, 1)},
	{unix.SYS_OPEN, call{op: opOpen, dir: noArg, path: 0, flags: 1, mode: 2}},
	{unix.SYS_CREAT, call{op: opOpen, dir: noArg, path: 0, flags: noArg, mode: 1}},
	{unix.SYS_MKDIR, byPath(opMkdir, 1)},
	{unix.SYS_MKNOD, byPath(opMknod, 1)},
	{unix.SYS_SYMLINK, call{op: opSymlink, dir: noArg, path: 1, flags: noArg, arg: 0}},
}
