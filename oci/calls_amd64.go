package oci

import "golang.org/x/sys/unix"

// compatArch is the other kind of programs that a PC runs.
const compatArch = unix.AUDIT_ARCH_I386

// shortened is a call that has ids of 16 bits.
func shortened(c call) call {
	c.short = true
	return c
}

// compatCalls are those of 32-bit PCs: arch/x86/entry/syscalls/syscall_32.tbl of Linux. Those of before Linux 2.4, whose
// ids have 16 bits, are used by no C library of today but for a few; reading ids with them is left to the kernel.
var compatCalls = []numbered{
	{182, shortened(byPath(opChown, 1))},
	{16, shortened(byLink(opChown, 1))},
	{95, shortened(byFD(opChown, 1))},
	{212, byPath(opChown, 1)},
	{198, byLink(opChown, 1)},
	{207, byFD(opChown, 1)},
	{298, atDir(opChown, 1, 4, 2)},
	{195, byPath(opStat386, 1)},
	{196, byLink(opStat386, 1)},
	{197, byFD(opStat386, 1)},
	{300, atDir(opStat386, 1, 3, 2)},
	{383, atDir(opStatx, 1, 2, 4)},
	{232, byPath(opListxattr, 1)},
	{233, byLink(opListxattr, 1)},
	{234, byFD(opListxattr, 1)},
	{229, byPath(opGetxattr, 1)},
	{230, byLink(opGetxattr, 1)},
	{231, byFD(opGetxattr, 1)},
	{226, byPath(opSetxattr, 1)},
	{227, byLink(opSetxattr, 1)},
	{228, byFD(opSetxattr, 1)},
	{235, byPath(opRemovexattr, 1)},
	{236, byLink(opRemovexattr, 1)},
	{237, byFD(opRemovexattr, 1)},
	{5, call{op: opOpen, dir: noArg, path: 0, flags: 1, mode: 2}},
	{8, call{op: opOpen, dir: noArg, path: 0, flags: noArg, mode: 1}},
	{295, call{op: opOpen, dir: 0, path: 1, flags: 2, mode: 3}},
	{39, byPath(opMkdir, 1)},
	{296, atDir(opMkdir, 1, noArg, 2)},
	{14, byPath(opMknod, 1)},
	{297, atDir(opMknod, 1, noArg, 2)},
	{83, call{op: opSymlink, dir: noArg, path: 1, flags: noArg, arg: 0}},
	{304, call{op: opSymlink, dir: 1, path: 2, flags: noArg, arg: 0}},
	{11, byPath(opExec, 1)},
	{358, atDir(opExec, 1, 4, 2)},
	{199, ofID(opGetID, realUser)},
	{201, ofID(opGetID, effectiveUser)},
	{200, ofID(opGetID, realGroup)},
	{202, ofID(opGetID, effectiveGroup)},
	{209, ofID(opGetIDs, realUser)},
	{211, ofID(opGetIDs, realGroup)},
	{205, ofID(opGetGroups, 0)},
	{213, ofID(opSetID, realUser)},
	{214, ofID(opSetID, realGroup)},
	{203, call{op: opSetIDs, id: realUser, arg: 2}},
	{204, call{op: opSetIDs, id: realGroup, arg: 2}},
	{208, call{op: opSetIDs, id: realUser, arg: 3}},
	{210, call{op: opSetIDs, id: realGroup, arg: 3}},
	{215, ofID(opSetFSID, realUser)},
	{216, ofID(opSetFSID, realGroup)},
	{206, ofID(opSetGroups, 0)},
	{172, ofID(opPrctl, 0)},
	{437, call{op: opMissing}},
	{425, call{op: opMissing}},
	{463, call{op: opMissing}},
	{464, call{op: opMissing}},
	{465, call{op: opMissing}},
	{466, call{op: opMissing}},
}

// compatMounts are those of 32-bit PCs; umount is there without flags, too.
var compatMounts = []numbered{
	{21, byPath(opMount, 0)},
	{22, byPath(opUmount, noArg)},
	{52, byPath(opUmount, 1)},
}
