// SPDX-License-Identifier: Apache-2.0

package disk

// Shape of an extent tree.
const (
	ExtentMagic     = 0xF30A
	ExtentEntrySize = 12 // ExtentHeader, Extent and ExtentIndex all have it
	// ExtentsInInode and ExtentsInBlock are the number of entries after the header.
	ExtentsInInode = BlockField/ExtentEntrySize - 1
	ExtentsInBlock = BlockSize/ExtentEntrySize - 1
	// ExtentTail is the offset of the checksum in a block, after the last entry.
	ExtentTail = (ExtentsInBlock + 1) * ExtentEntrySize
	// MaxExtentLength is the number of blocks in one initialised extent; larger lengths mean
	// "uninitialised".
	MaxExtentLength = 1 << 15
)

// ExtentHeader begins each node of an extent tree.
type ExtentHeader struct {
	Magic      uint16 // 0x0
	Entries    uint16 // 0x2
	Max        uint16 // 0x4
	Depth      uint16 // 0x6 0 in leaves
	Generation uint32 // 0x8
}

// Extent is an entry of a leaf.
type Extent struct {
	Block   uint32 // 0x0 first block in the file
	Length  uint16 // 0x4 in blocks
	StartHi uint16 // 0x6 first block on the disk
	StartLo uint32 // 0x8
}

// ExtentIndex is an entry above the leaves.
type ExtentIndex struct {
	Block  uint32 // 0x0 first block in the file that the child covers
	LeafLo uint32 // 0x4 the child
	LeafHi uint16 // 0x8
	Unused uint16 // 0xA
}

// Put writes the header to the start of dst, which must be long enough.
func (h ExtentHeader) Put(dst []byte) {
	b := le.AppendUint16(dst[:0:ExtentEntrySize], h.Magic)
	b = le.AppendUint16(b, h.Entries)
	b = le.AppendUint16(b, h.Max)
	b = le.AppendUint16(b, h.Depth)
	_ = le.AppendUint32(b, h.Generation)
}

// Put writes the entry to the start of dst, which must be long enough.
func (e Extent) Put(dst []byte) {
	b := le.AppendUint32(dst[:0:ExtentEntrySize], e.Block)
	b = le.AppendUint16(b, e.Length)
	b = le.AppendUint16(b, e.StartHi)
	_ = le.AppendUint32(b, e.StartLo)
}
