// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

// olderDenied are refused calls that not all machines have.
var olderDenied = []uint32{
	unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_QUERY_MODULE,
	unix.SYS_SYSFS, unix.SYS__SYSCTL,
	unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_UPROBE, unix.SYS_URETPROBE,
}

// Those of 32-bit PCs: arch/x86/entry/syscalls/syscall_32.tbl of Linux.
const (
	compatPersonality = 136
	compatSocket      = 359
)

var compatDenied = []uint32{
	// stime, nice, acct, ustat, sgetmask, ssetmask, sethostname, settimeofday, uselib, swapon
	25, 34, 51, 62, 68, 69, 74,
	79, 86, 87,
	101, 110, 111, 113, 115, // ioperm, iopl, vhangup, vm86old, swapoff
	// setdomainname, create_, init_ and delete_module, get_kernel_syms, quotactl, bdflush, sysfs,
	// _sysctl
	121, 127, 128, 129, 130, 131, 134,
	135, 149,
	// vm86, query_module, nfsservctl, lookup_dcookie, clock_settime, kexec_load, migrate_pages
	166, 167, 169, 253, 264,
	283, 294,
	// vmsplice, move_pages, perf_event_open, open_by_handle_at, setns, kcmp, finit_module, bpf
	316, 317, 336, 342, 346, 349,
	350, 357,
	374, 385, 404, 416, // userfaultfd, io_pgetevents, clock_settime64, io_pgetevents_time64
}

// compatKeys are add_key, request_key and keyctl.
var compatKeys = []uint32{286, 287, 288}
