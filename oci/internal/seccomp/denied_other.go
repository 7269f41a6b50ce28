// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package seccomp

// No other machine is known to run 32-bit programs.
const (
	compatPersonality = 0
	compatSocket      = 0
)

var compatDenied, compatKeys []uint32
