// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

// CompatArch is the other kind of programs that a PC runs.
const CompatArch = unix.AUDIT_ARCH_I386

// shortened is a call that has ids of 16 bits.
func shortened(c Call) Call {
	c.Short = true
	return c
}

// compatCalls are those of 32-bit PCs: arch/x86/entry/syscalls/syscall_32.tbl of Linux. Those of before Linux
// 2.4, whose ids have 16 bits, are used by no C library of today but for a few; reading ids with them is left
// to the kernel.
var compatCalls = []Numbered{
	{182, shortened(ByPath(OpChown, 1))},
	{16, shortened(byLink(OpChown, 1))},
	{95, shortened(byFD(OpChown, 1))},
	{212, ByPath(OpChown, 1)},
	{198, byLink(OpChown, 1)},
	{207, byFD(OpChown, 1)},
	{298, atDir(OpChown, 1, 4, 2)},
	{195, ByPath(OpStat386, 1)},
	{196, byLink(OpStat386, 1)},
	{197, byFD(OpStat386, 1)},
	{300, atDir(OpStat386, 1, 3, 2)},
	{383, atDir(OpStatx, 1, 2, 4)},
	{232, ByPath(OpListxattr, 1)},
	{233, byLink(OpListxattr, 1)},
	{234, byFD(OpListxattr, 1)},
	{229, ByPath(OpGetxattr, 1)},
	{230, byLink(OpGetxattr, 1)},
	{231, byFD(OpGetxattr, 1)},
	{226, ByPath(OpSetxattr, 1)},
	{227, byLink(OpSetxattr, 1)},
	{228, byFD(OpSetxattr, 1)},
	{235, ByPath(OpRemovexattr, 1)},
	{236, byLink(OpRemovexattr, 1)},
	{237, byFD(OpRemovexattr, 1)},
	{5, Call{Op: OpOpen, Dir: NoArg, Path: 0, Flags: 1, Mode: 2}},
	{8, Call{Op: OpOpen, Dir: NoArg, Path: 0, Flags: NoArg, Mode: 1}},
	{295, Call{Op: OpOpen, Dir: 0, Path: 1, Flags: 2, Mode: 3}},
	{39, ByPath(OpMkdir, 1)},
	{296, atDir(OpMkdir, 1, NoArg, 2)},
	{14, ByPath(OpMknod, 1)},
	{297, atDir(OpMknod, 1, NoArg, 2)},
	{83, Call{Op: OpSymlink, Dir: NoArg, Path: 1, Flags: NoArg, Arg: 0}},
	{304, Call{Op: OpSymlink, Dir: 1, Path: 2, Flags: NoArg, Arg: 0}},
	{11, ByPath(OpExec, 1)},
	{358, atDir(OpExec, 1, 4, 2)},
	{199, ofID(OpGetID, RealUser)},
	{201, ofID(OpGetID, EffectiveUser)},
	{200, ofID(OpGetID, RealGroup)},
	{202, ofID(OpGetID, EffectiveGroup)},
	{209, ofID(OpGetIDs, RealUser)},
	{211, ofID(OpGetIDs, RealGroup)},
	{205, ofID(OpGetGroups, 0)},
	{213, ofID(OpSetID, RealUser)},
	{214, ofID(OpSetID, RealGroup)},
	{203, Call{Op: OpSetIDs, ID: RealUser, Arg: 2}},
	{204, Call{Op: OpSetIDs, ID: RealGroup, Arg: 2}},
	{208, Call{Op: OpSetIDs, ID: RealUser, Arg: 3}},
	{210, Call{Op: OpSetIDs, ID: RealGroup, Arg: 3}},
	{215, ofID(OpSetFSID, RealUser)},
	{216, ofID(OpSetFSID, RealGroup)},
	{206, ofID(OpSetGroups, 0)},
	{172, ofID(OpPrctl, 0)},
	{437, Call{Op: opMissing}},
	{425, Call{Op: opMissing}},
	{463, Call{Op: opMissing}},
	{464, Call{Op: opMissing}},
	{465, Call{Op: opMissing}},
	{466, Call{Op: opMissing}},
}

// CompatMounts are those of 32-bit PCs; umount is there without flags, too.
var CompatMounts = []Numbered{
	{21, ByPath(OpMount, 0)},
	{22, ByPath(OpUmount, NoArg)},
	{52, ByPath(OpUmount, 1)},
}
