// SPDX-License-Identifier: Apache-2.0

package disk

// Values in a journal superblock.
const (
	JournalMagic        = 0xC03B3998
	JournalSuperBlockV2 = 4
)

// JournalSuperBlock is the first block of the journal, big-endian, up to the last field that an
// empty journal uses.
type JournalSuperBlock struct {
	Magic           uint32   // 0x00
	BlockType       uint32   // 0x04
	HeaderSequence  uint32   // 0x08
	BlockSize       uint32   // 0x0C
	MaxLen          uint32   // 0x10 in blocks
	First           uint32   // 0x14 first block of the log
	Sequence        uint32   // 0x18 first commit expected
	Start           uint32   // 0x1C 0: the log is empty
	Errno           uint32   // 0x20
	FeatureCompat   uint32   // 0x24
	FeatureIncompat uint32   // 0x28
	FeatureROCompat uint32   // 0x2C
	UUID            [16]byte // 0x30
	Users           uint32   // 0x40
}

// OrphanMagic marks each block of the orphan file.
const OrphanMagic = 0x0B10CA04

// OrphanTailOffset is the offset of OrphanTail, at the end of each block of the orphan file.
const OrphanTailOffset = BlockSize - 8

// OrphanTail ends each block of the orphan file (little-endian, as everything except the journal).
type OrphanTail struct {
	Magic    uint32 // 0x0
	Checksum uint32 // 0x4
}
