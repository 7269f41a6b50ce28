// SPDX-License-Identifier: Apache-2.0

package disk

// Offset and size of the superblocks, and numbers in them.
const (
	SuperBlockOffset = 1024 // in the first and in the second block
	SuperBlocks      = 2
	SuperBlockSize   = 3072
	Magic            = 0xF2F52010
	// MajorVersion and MinorVersion are the version of the format.
	MajorVersion = 1
	MinorVersion = 15
	// LabelUnits is the maximum length of the label in UTF-16 units.
	LabelUnits = 512
)

// Numbers of fixed inodes.
const (
	InodeNode  = 1 // stands for the node area
	InodeMeta  = 2 // stands for the meta area
	InodeRoot  = 3
	FirstInode = 4 // first free one
)

// SuperBlock describes the whole file system. Addresses are in blocks from its start.
type SuperBlock struct {
	Magic              uint32             // 0x000
	MajorVersion       uint16             // 0x004
	MinorVersion       uint16             // 0x006
	LogSectorSize      uint32             // 0x008
	LogSectorsPerBlock uint32             // 0x00C
	LogBlockSize       uint32             // 0x010
	LogBlocksPerSeg    uint32             // 0x014
	SegmentsPerSection uint32             // 0x018
	SectionsPerZone    uint32             // 0x01C
	ChecksumOffset     uint32             // 0x020 0: no checksum
	BlockCount         uint64             // 0x024
	SectionCount       uint32             // 0x02C of the main area
	SegmentCount       uint32             // 0x030
	SegmentCountCP     uint32             // 0x034
	SegmentCountSIT    uint32             // 0x038
	SegmentCountNAT    uint32             // 0x03C
	SegmentCountSSA    uint32             // 0x040
	SegmentCountMain   uint32             // 0x044
	Segment0Addr       uint32             // 0x048
	CPAddr             uint32             // 0x04C
	SITAddr            uint32             // 0x050
	NATAddr            uint32             // 0x054
	SSAAddr            uint32             // 0x058
	MainAddr           uint32             // 0x05C
	RootInode          uint32             // 0x060
	NodeInode          uint32             // 0x064
	MetaInode          uint32             // 0x068
	UUID               [16]byte           // 0x06C
	VolumeName         [LabelUnits]uint16 // 0x07C UTF-16
	ExtensionCount     uint32             // 0x47C
	ExtensionList      [64][8]byte        // 0x480
	CPPayload          uint32             // 0x680 blocks of the checkpoint after its first one
	Version            [256]byte          // 0x684 kernel that fsck.f2fs last ran on
	InitVersion        [256]byte          // 0x784 kernel that mkfs.f2fs ran on
	Feature            uint32             // 0x884
	EncryptionLevel    uint8              // 0x888
	EncryptionSalt     [16]byte           // 0x889
	Devices            [8][68]byte        // 0x899
	QuotaInodes        [3]uint32          // 0xAB9
	HotExtensionCount  uint8              // 0xAC5
	Encoding           uint16             // 0xAC6
	EncodingFlags      uint16             // 0xAC8
	Reserved           [306]byte          // 0xACA
	Checksum           uint32             // 0xBFC
}
