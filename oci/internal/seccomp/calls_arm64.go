// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

// CompatArch is the other kind of programs that some of these machines run. Calls about owners are not known of them.
const CompatArch = unix.AUDIT_ARCH_ARM

var compatCalls []Numbered

// CompatMounts are those of 32-bit Arm programs: arch/arm/tools/syscall.tbl of Linux.
var CompatMounts = []Numbered{
	{21, ByPath(OpMount, 0)},
	{52, ByPath(OpUmount, 1)},
}
