// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

// olderDenied are refused calls that not all machines have.
var olderDenied = []uint32{
	unix.SYS_BDFLUSH, unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_NICE,
	unix.SYS_OLDFSTAT, unix.SYS_PCICONFIG_IOBASE,
	unix.SYS_PCICONFIG_READ, unix.SYS_PCICONFIG_WRITE, unix.SYS_QUERY_MODULE, unix.SYS_SGETMASK, unix.SYS_SSETMASK,
	unix.SYS_STIME, unix.SYS_SYSFS,
	unix.SYS__SYSCTL, unix.SYS_USELIB, unix.SYS_USTAT,
}
