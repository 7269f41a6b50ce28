// SPDX-License-Identifier: Apache-2.0

// Package disk defines the structures of ext2, ext3 and ext4 on disk, field by field in disk order.
//
// The offset of each field is in its comment. Everything is little-endian except the
// journal, which is big-endian. Sources: Documentation/filesystems/ext4 and fs/ext4/ext4.h,
// ext4_extents.h, xattr.h and include/linux/jbd2.h of the Linux kernel; lib/ext2fs/ext2_fs.h of
// e2fsprogs.
package disk

import (
	"encoding/binary"
	"fmt"
)

// The only geometry that this package describes: 4 KiB blocks and 256-byte inodes.
const (
	BlockSize      = 4096
	LogBlockSize   = 2 // s_log_block_size: 1024 << 2
	BlocksPerGroup = 8 * BlockSize
	InodeSize      = 256
	InodesPerBlock = BlockSize / InodeSize
	SectorSize     = 512 // the unit of i_blocks
	// SectorsPerBlock converts blocks to i_blocks.
	SectorsPerBlock = BlockSize / SectorSize
	// PointersPerBlock is the number of block numbers in an indirect block.
	PointersPerBlock = BlockSize / 4
)

var le = binary.LittleEndian

// Put writes a structure of this package to the start of dst, little-endian. dst must be long
// enough. Frequent structures have a method Put, which does the same faster.
func Put(dst []byte, structure any) { put(dst, binary.LittleEndian, structure) }

// PutJournal writes a structure of the journal to the start of dst, big-endian. dst must be long enough.
func PutJournal(dst []byte, structure any) { put(dst, binary.BigEndian, structure) }

func put(dst []byte, order binary.ByteOrder, structure any) {
	if _, err := binary.Encode(dst, order, structure); err != nil {
		panic(fmt.Sprintf("BUG: encode %T: %v", structure, err))
	}
}
