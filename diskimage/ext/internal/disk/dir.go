// SPDX-License-Identifier: Apache-2.0

package disk

// FileType is the type in a directory entry.
type FileType uint8

// TypeChecksum marks the checksum at the end of a block, in the form of an unused entry.
const TypeChecksum FileType = 0xDE

// Sizes and offsets in directories.
const (
	MaxNameLength  = 255
	DirHeaderSize  = 8
	DirTailSize    = 12 // an unused entry with the checksum as its name
	DxRootOffset   = 24 // DxRootInfo follows the entries "." and ".."
	DxRootInfoSize = 8
	DxEntrySize    = 8
	DxTailSize     = 8 // reserved uint32, checksum
	// DxRootEntries and DxNodeEntries are the offsets of the first DxEntry in block 0 and in other
	// index blocks.
	DxRootEntries = DxRootOffset + DxRootInfoSize
	DxNodeEntries = DirHeaderSize
)

// DirHeader begins a directory entry; the name follows, padded to four bytes.
type DirHeader struct {
	Inode      uint32   // 0x0
	RecLen     uint16   // 0x4 to the next entry
	NameLength uint8    // 0x6
	Type       FileType // 0x7
}

// DxRootInfo begins the index of a hashed directory.
type DxRootInfo struct {
	ReservedZero uint32 // 0x0
	HashVersion  uint8  // 0x4
	InfoLength   uint8  // 0x5
	Levels       uint8  // 0x6 of index blocks below the root
	UnusedFlags  uint8  // 0x7
}

// DxCount replaces the hash of the first DxEntry of an index block, which is always 0.
type DxCount struct {
	Limit uint16 // 0x0 entries that fit
	Count uint16 // 0x2 entries that are used
}

// DxEntry points to the block of the directory with the names from a hash on. The lowest bit of the
// hash means that the previous block has names with this hash, too.
type DxEntry struct {
	Hash  uint32 // 0x0
	Block uint32 // 0x4
}

// Put writes the header to the start of dst, which must be long enough.
func (h DirHeader) Put(dst []byte) {
	b := le.AppendUint32(dst[:0:DirHeaderSize], h.Inode)
	b = le.AppendUint16(b, h.RecLen)
	_ = append(b, h.NameLength, uint8(h.Type))
}
