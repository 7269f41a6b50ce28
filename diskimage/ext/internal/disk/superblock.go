// SPDX-License-Identifier: Apache-2.0

package disk

// Offset and size of the superblock.
const (
	SuperBlockOffset = 1024 // from the start of the file system; copies are at the start of their group
	SuperBlockSize   = 1024
	// SuperBlockChecksummed is the part of a superblock that its checksum covers.
	SuperBlockChecksummed = SuperBlockSize - 4
)

// Values of superblock fields.
const (
	SuperMagic         = 0xEF53
	StateClean         = 1
	ErrorsContinue     = 1
	RevisionDynamic    = 1
	MaxMountsNever     = 0xFFFF // never check because of the number of mounts
	HashHalfMD4        = 1      // s_def_hash_version, and hash_version of DxRootInfo
	FlagSignedHash     = 1      // s_flags: hashing treats the bytes of names as signed
	JournalBackup      = 1      // s_jnl_backup_type: s_jnl_blocks holds i_block and i_size
	ChecksumCRC32C     = 1      // s_checksum_type
	MountUserXattr     = 0x0004 // s_default_mount_opts
	MountACL           = 0x0008
	LabelSize          = 16
	LogGroupsPerFlex   = 4
	DescSize64Bit      = 64
	DescSizeOld        = 32
	WantExtraInodeSize = InodeUsed - InodeOldSize
)

// SuperBlock describes the whole file system. Fields of unused features are called Unused.
type SuperBlock struct {
	InodesCount       uint32     // 0x000
	BlocksCountLo     uint32     // 0x004
	RBlocksCountLo    uint32     // 0x008 reserved for root
	FreeBlocksCountLo uint32     // 0x00C
	FreeInodesCount   uint32     // 0x010
	FirstDataBlock    uint32     // 0x014
	LogBlockSize      uint32     // 0x018
	LogClusterSize    uint32     // 0x01C
	BlocksPerGroup    uint32     // 0x020
	ClustersPerGroup  uint32     // 0x024
	InodesPerGroup    uint32     // 0x028
	MountTime         uint32     // 0x02C
	WriteTime         uint32     // 0x030
	MountCount        uint16     // 0x034
	MaxMountCount     uint16     // 0x036
	Magic             uint16     // 0x038
	State             uint16     // 0x03A
	Errors            uint16     // 0x03C
	MinorRevision     uint16     // 0x03E
	LastCheck         uint32     // 0x040
	CheckInterval     uint32     // 0x044
	CreatorOS         uint32     // 0x048 0 is Linux
	Revision          uint32     // 0x04C
	DefaultResUID     uint16     // 0x050
	DefaultResGID     uint16     // 0x052
	FirstInode        uint32     // 0x054
	InodeSize         uint16     // 0x058
	BlockGroup        uint16     // 0x05A group that holds this copy
	FeatureCompat     Compat     // 0x05C
	FeatureIncompat   Incompat   // 0x060
	FeatureROCompat   ROCompat   // 0x064
	UUID              [16]byte   // 0x068
	VolumeName        [16]byte   // 0x078
	LastMounted       [64]byte   // 0x088
	AlgorithmBitmap   uint32     // 0x0C8
	PreallocBlocks    uint8      // 0x0CC
	PreallocDirBlocks uint8      // 0x0CD
	ReservedGDTBlocks uint16     // 0x0CE
	JournalUUID       [16]byte   // 0x0D0
	JournalInode      uint32     // 0x0E0
	JournalDevice     uint32     // 0x0E4
	LastOrphan        uint32     // 0x0E8
	HashSeed          [16]byte   // 0x0EC
	DefHashVersion    uint8      // 0x0FC
	JournalBackupType uint8      // 0x0FD
	DescSize          uint16     // 0x0FE
	DefaultMountOpts  uint32     // 0x100
	FirstMetaBG       uint32     // 0x104
	MakeTime          uint32     // 0x108
	JournalBlocks     [17]uint32 // 0x10C i_block, i_size_high, i_size_lo of the journal
	BlocksCountHi     uint32     // 0x150
	RBlocksCountHi    uint32     // 0x154
	FreeBlocksCountHi uint32     // 0x158
	MinExtraIsize     uint16     // 0x15C
	WantExtraIsize    uint16     // 0x15E
	Flags             uint32     // 0x160
	RAIDStride        uint16     // 0x164
	MMPInterval       uint16     // 0x166
	MMPBlock          uint64     // 0x168
	RAIDStripeWidth   uint32     // 0x170
	LogGroupsPerFlex  uint8      // 0x174
	ChecksumType      uint8      // 0x175
	EncryptionLevel   uint8      // 0x176
	Pad177            uint8      // 0x177
	KBytesWritten     uint64     // 0x178
	Unused180         [200]byte  // 0x180 snapshots, error log, mount options, quota inodes
	OverheadClusters  uint32     // 0x248 blocks that can never hold data
	BackupBGs         [2]uint32  // 0x24C
	Unused254         [24]byte   // 0x254 encryption, lost+found inode, project quota
	Pad26C            uint32     // 0x26C
	ChecksumSeed      uint32     // 0x270
	WriteTimeHi       uint8      // 0x274
	MountTimeHi       uint8      // 0x275
	MakeTimeHi        uint8      // 0x276
	LastCheckHi       uint8      // 0x277
	Unused278         [8]byte    // 0x278 error times, encoding
	OrphanFileInode   uint32     // 0x280
	Reserved284       [94]uint32 // 0x284
	Checksum          uint32     // 0x3FC
}
