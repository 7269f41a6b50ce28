// SPDX-License-Identifier: Apache-2.0

// Package disk defines the structures of f2fs on disk, field by field in disk order.
//
// The offset of each field is in its comment. Everything is little-endian. Sources:
// Documentation/filesystems/f2fs.rst, include/linux/f2fs_fs.h, fs/f2fs/xattr.h and fs/f2fs/acl.h of
// the Linux kernel.
package disk

import (
	"encoding/binary"
	"fmt"
)

// The only geometry that this package describes: the default of mkfs.f2fs.
const (
	BlockSize        = 4096
	LogBlockSize     = 12
	LogBlocksPerSeg  = 9
	BlocksPerSegment = 1 << LogBlocksPerSeg
	SegmentSize      = BlocksPerSegment * BlockSize
	// MostSegments is F2FS_MAX_SEGMENT: 16 TiB.
	MostSegments = 16 * 1024 * 1024 / 2
)

var le = binary.LittleEndian

// Put writes a structure of this package to the start of dst, which must be long enough. Frequent
// structures have a method Put, which does the same faster.
func Put(dst []byte, structure any) {
	if _, err := binary.Encode(dst, le, structure); err != nil {
		panic(fmt.Sprintf("BUG: encode %T: %v", structure, err))
	}
}

// Get reads a structure of this package from the start of src. It panics if src is too short.
func Get(src []byte, structure any) {
	if _, err := binary.Decode(src, le, structure); err != nil {
		panic(fmt.Sprintf("BUG: decode %T: %v", structure, err))
	}
}
