// SPDX-License-Identifier: Apache-2.0

package disk

// Offsets in a checkpoint pack, and flags of the checkpoint.
const (
	CheckpointPacks = 2
	// CheckpointSize is the size of Checkpoint; the bitmaps of SIT and NAT follow.
	CheckpointSize     = 192
	CheckpointChecksum = BlockSize - 4
	// BitmapRoom is the size of the bitmaps in the first block of the checkpoint, and
	// LeastNATBitmap the part of it that the bitmap of the NAT needs.
	BitmapRoom     = CheckpointChecksum - CheckpointSize
	LeastNATBitmap = 64

	CheckpointUnmounted = 0x01 // CP_UMOUNT_FLAG: nothing to recover, and the summaries of nodes are in the pack
)

// Log is one of the six logs to which blocks are written.
type Log int

// The logs. Directories are hot, other files are warm. Blocks that point to nodes, and files with
// certain names, are cold.
const (
	HotData Log = iota
	WarmData
	ColdData
	HotNode
	WarmNode
	ColdNode
	Logs
)

// IsNode reports whether the log holds nodes.
func (l Log) IsNode() bool { return l >= HotNode }

// Checkpoint is the state that changes during use.
type Checkpoint struct {
	Version            uint64    // 0x00 odd in the first pack
	UserBlockCount     uint64    // 0x08
	ValidBlockCount    uint64    // 0x10
	ReservedSegments   uint32    // 0x18 for cleaning
	OverprovSegments   uint32    // 0x1C including reserved ones
	FreeSegments       uint32    // 0x20
	CurNodeSegment     [8]uint32 // 0x24
	CurNodeBlockOffset [8]uint16 // 0x44
	CurDataSegment     [8]uint32 // 0x54
	CurDataBlockOffset [8]uint16 // 0x74
	Flags              uint32    // 0x84
	PackBlocks         uint32    // 0x88
	StartSummary       uint32    // 0x8C first block of the data summaries in the pack
	ValidNodeCount     uint32    // 0x90
	ValidInodeCount    uint32    // 0x94
	NextFreeNode       uint32    // 0x98
	SITBitmapSize      uint32    // 0x9C bytes
	NATBitmapSize      uint32    // 0xA0 bytes
	ChecksumOffset     uint32    // 0xA4
	ElapsedTime        uint64    // 0xA8 seconds
	AllocType          [16]uint8 // 0xB0
}
