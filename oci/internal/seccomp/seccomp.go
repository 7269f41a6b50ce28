// SPDX-License-Identifier: Apache-2.0

// Package seccomp makes the filters that the kernel runs for each system call of a container's programs (seccomp(2)).
//
// OwnerCalls and the tables beside it say, for each machine, which calls are about owners, mounts or names in
// /proc, and which arguments name the file. Compile makes a filter of such a table that asks the supervisor
// (seccomp_unotify(2)) about these calls and allows all others. Deny installs a filter that refuses the calls
// which no program of a container needs.
//
// Package supervise answers what the filter asks. Numbers of calls that the machine's other programs use,
// 32-bit ones on amd64 and arm64, are in tables of their own. What a name means is not decided here.
package seccomp

import (
	"golang.org/x/sys/unix"
)

// AuditArches are the kernel's names of the machines that this program is made for, in filters.
var AuditArches = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "loong64": unix.AUDIT_ARCH_LOONGARCH64,
	"ppc64le": unix.AUDIT_ARCH_PPC64LE, "riscv64": unix.AUDIT_ARCH_RISCV64, "s390x": unix.AUDIT_ARCH_S390X,
}

// Data is struct seccomp_data of linux/seccomp.h: a system call.
type Data struct {
	Nr   int32
	Arch uint32
	IP   uint64
	Args [6]uint64
}
