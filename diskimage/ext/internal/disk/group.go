// SPDX-License-Identifier: Apache-2.0

package disk

// GroupFlags mark the parts of a group that were never written.
type GroupFlags uint16

// Group flags.
const (
	GroupInodeUninit GroupFlags = 1 // the inode bitmap was not written: all inodes are free
	GroupBlockUninit GroupFlags = 2 // the block bitmap was not written: all blocks are free
	GroupInodeZeroed GroupFlags = 4 // the unused part of the inode table is zero, so that the kernel need not clear it
)

// GroupDescChecksumOffset is the offset of GroupDesc.Checksum.
const GroupDescChecksumOffset = 0x1E

// GroupDesc describes one block group. Without Incompat64Bit only the first 32 bytes are on the disk.
type GroupDesc struct {
	BlockBitmapLo     uint32     // 0x00
	InodeBitmapLo     uint32     // 0x04
	InodeTableLo      uint32     // 0x08
	FreeBlocksLo      uint16     // 0x0C
	FreeInodesLo      uint16     // 0x0E
	UsedDirsLo        uint16     // 0x10
	Flags             GroupFlags // 0x12
	ExcludeBitmapLo   uint32     // 0x14
	BlockBitmapCsumLo uint16     // 0x18
	InodeBitmapCsumLo uint16     // 0x1A
	UnusedInodesLo    uint16     // 0x1C at the end of the inode table
	Checksum          uint16     // 0x1E
	BlockBitmapHi     uint32     // 0x20
	InodeBitmapHi     uint32     // 0x24
	InodeTableHi      uint32     // 0x28
	FreeBlocksHi      uint16     // 0x2C
	FreeInodesHi      uint16     // 0x2E
	UsedDirsHi        uint16     // 0x30
	UnusedInodesHi    uint16     // 0x32
	ExcludeBitmapHi   uint32     // 0x34
	BlockBitmapCsumHi uint16     // 0x38
	InodeBitmapCsumHi uint16     // 0x3A
	Reserved          uint32     // 0x3C
}
