// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package luks

import (
	"crypto/aes"

	"golang.org/x/sys/cpu"
)

// hasAES reports whether the processor has the instructions of the assembly.
var hasAES = cpu.X86.HasAES || cpu.ARM64.HasAES

// encryptAES encrypts n times interleaved bytes; tweak is that of the first block, and then that of the next one after
// the last.
//
//go:noescape
func encryptAES(keys *roundKeys, dst, src *byte, n int, tweak *[aes.BlockSize]byte)

// substitute replaces each byte of a word (SubWord of FIPS 197), in constant time.
func substitute(word uint32) uint32
