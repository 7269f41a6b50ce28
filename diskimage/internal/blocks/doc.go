// SPDX-License-Identifier: Apache-2.0

// Package blocks writes file systems with blocks of 4 KiB: metadata block by block, and the
// contents of files. Blocks of zeros are left out, because the disk is zero.
package blocks

// Size is the size of a block in bytes.
const Size = 4096
