package oci

import "golang.org/x/sys/unix"

// compatArch is the other kind of programs that some of these machines run. Calls about owners are not known of them.
const compatArch = unix.AUDIT_ARCH_ARM

var compatCalls []numbered

// compatMounts are those of 32-bit Arm programs: arch/arm/tools/syscall.tbl of Linux.
var compatMounts = []numbered{
	{21, byPath(opMount, 0)},
	{52, byPath(opUmount, 1)},
}
