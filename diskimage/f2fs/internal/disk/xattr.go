// SPDX-License-Identifier: Apache-2.0

package disk

import "github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"

// Sizes of extended attributes: XattrHeader, then entries with names and values, padded to four
// bytes, then four zeros. The inode holds the first InlineXattrSize bytes and a node the rest.
const (
	XattrMagic      = 0xF2F52011
	XattrHeaderSize = 24
	XattrEntrySize  = 4
	XattrEnd        = 4
	XattrRoom       = InlineXattrSize + XattrNodeSize
)

// XattrHeader begins the attributes of an inode.
type XattrHeader struct {
	Magic    uint32    // 0x00
	Refcount uint32    // 0x04
	Reserved [4]uint32 // 0x08
}

// XattrEntry is followed by the name without its prefix, and by the value.
type XattrEntry struct {
	NameIndex  xattr.Index // 0x0
	NameLength uint8       // 0x1
	ValueSize  uint16      // 0x2
}
