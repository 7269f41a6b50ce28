// SPDX-License-Identifier: Apache-2.0

package disk

// Sizes of entries of the tables, and how many are in a block.
const (
	NATEntrySize       = 9
	NATEntriesPerBlock = BlockSize / NATEntrySize
	SITEntrySize       = 74
	SITEntriesPerBlock = BlockSize / SITEntrySize
	// SITTypeShift is the position of the log in SITEntry.Blocks.
	SITTypeShift = 10

	SummarySize = 7
	// SummaryFooter is the offset of SummaryType in a summary block.
	SummaryFooter   = BlockSize - 5
	SummaryTypeData = 0
	SummaryTypeNode = 1
)

// NATEntry is the location of a node.
type NATEntry struct {
	Version   uint8  // 0x0
	Inode     uint32 // 0x1 that the node belongs to
	BlockAddr uint32 // 0x5
}

// Put writes the entry to the start of dst, which must be long enough.
func (e NATEntry) Put(dst []byte) {
	b := append(dst[:0:NATEntrySize], e.Version)
	b = le.AppendUint32(b, e.Inode)
	_ = le.AppendUint32(b, e.BlockAddr)
}

// SITEntry records which blocks of a segment are in use.
type SITEntry struct {
	Blocks   uint16   // 0x00 number of blocks, and the log
	ValidMap [64]byte // 0x02 the highest bit of a byte is the first block
	Time     uint64   // 0x42
}

// Summary records what points to a block.
type Summary struct {
	Node    uint32 // 0x0 for data the node that points to it; for a node itself
	Version uint8  // 0x4
	Offset  uint16 // 0x5 of the pointer in the node
}

// Put writes the summary to the start of dst, which must be long enough.
func (s Summary) Put(dst []byte) {
	b := le.AppendUint32(dst[:0:SummarySize], s.Node)
	b = append(b, s.Version)
	_ = le.AppendUint16(b, s.Offset)
}
