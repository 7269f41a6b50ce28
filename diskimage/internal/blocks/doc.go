// SPDX-License-Identifier: Apache-2.0

// Package blocks writes what file systems with blocks of 4 KiB consist of: metadata block by block, and the contents of
// files. Blocks of zeros are left out, because the disk is zero.
package blocks

// Size is that of a block in bytes.
const Size = 4096
