// SPDX-License-Identifier: Apache-2.0

//go:build loong64 || riscv64

package seccomp

// olderDenied are not there on these machines.
var olderDenied []uint32
