// SPDX-License-Identifier: Apache-2.0

package seccomp

// olderDenied are refused calls that not all machines have.
var olderDenied []uint32

// Those of 32-bit Arm programs: arch/arm/tools/syscall.tbl of Linux.
const (
	compatPersonality = 136
	compatSocket      = 281
)

var compatDenied = []uint32{
	34, 51, 62, 74, 79, 86, 87, // nice, acct, ustat, sethostname, settimeofday, uselib, swapon
	// vhangup, swapoff, setdomainname, init_ and delete_module, quotactl, bdflush, sysfs, _sysctl
	111, 115, 121, 128, 129, 131, 134,
	135, 149,
	169, 249, 262, 343, 344, 347, // nfsservctl, lookup_dcookie, clock_settime, vmsplice, move_pages, kexec_load
	// perf_event_open, open_by_handle_at, setns, kcmp, finit_module, bpf, userfaultfd,
	// io_pgetevents
	364, 371, 375, 378, 379, 386,
	388, 399,
	400, 401, 404, 416, // migrate_pages, kexec_file_load, clock_settime64, io_pgetevents_time64
}

// compatKeys are add_key, request_key and keyctl.
var compatKeys = []uint32{309, 310, 311}
