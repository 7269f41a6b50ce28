// SPDX-License-Identifier: Apache-2.0

package verity

import "github.com/google/uuid"

// superblock is the first sector of a hash partition; the hashes follow in the next block. Numbers
// are little-endian.
type superblock struct {
	Signature     [8]byte         // 0: "verity\0\0"
	Version       uint32          // 8: 1
	HashType      uint32          // 12: 1, the salt comes before the block; 0 is that of Chrome OS
	UUID          uuid.UUID       // 16
	Algorithm     [32]byte        // 32: name of the kernel's algorithm
	DataBlockSize uint32          // 64
	HashBlockSize uint32          // 68
	DataBlocks    uint64          // 72
	SaltSize      uint16          // 80
	_             [6]byte         // 82
	Salt          [MaxSalt]byte   // 88
	_             [512 - 344]byte // 344
}

// signature is what blkid(8) recognises a hash partition by.
const signature = "verity\x00\x00"

// MaxSalt is the maximum length of a salt in bytes.
const MaxSalt = 256
