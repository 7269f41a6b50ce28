// SPDX-License-Identifier: Apache-2.0

package disk

import "github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"

// XattrMagic begins an attribute block and the attributes in an inode.
const XattrMagic = 0xEA020000

// Sizes of extended attributes.
const (
	XattrMagicSize   = 4 // the whole header in an inode
	XattrHeaderSize  = 32
	XattrEntrySize   = 16
	XattrEnd         = 4 // zeros after the last entry
	XattrMaxRefcount = 1024
	// XattrRefcountOffset and XattrChecksumOffset are offsets of fields of XattrHeader.
	XattrRefcountOffset = 0x04
	XattrChecksumOffset = 0x10
)

// XattrHeader begins an attribute block.
type XattrHeader struct {
	Magic    uint32    // 0x00
	Refcount uint32    // 0x04 inodes that share the block
	Blocks   uint32    // 0x08 always 1
	Hash     uint32    // 0x0C
	Checksum uint32    // 0x10
	Reserved [3]uint32 // 0x14
}

// XattrEntry is followed by the name without its prefix, padded to four bytes.
type XattrEntry struct {
	NameLength  uint8       // 0x0
	NameIndex   xattr.Index // 0x1
	ValueOffset uint16      // 0x2 from the start of the block, or in an inode from the first entry
	ValueInode  uint32      // 0x4
	ValueSize   uint32      // 0x8
	Hash        uint32      // 0xC 0 in an inode
}
