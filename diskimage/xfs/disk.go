// SPDX-License-Identifier: Apache-2.0

package xfs

// Structures on disk, field by field (fs/xfs/libxfs/xfs_format.h and xfs_da_format.h of Linux). Everything is
// big-endian, except for checksums.

const (
	magic        = "XFSB"
	superSize    = 512
	versionMask  = 0xF
	versionCRC   = 5 // metadata has checksums and says whose it is
	versionPlain = 4
	// Features of version 4.
	versionDirV2      = 0x2000
	features2FileType = 0x200

	minBlockLog, maxBlockLog = 9, 16
	minInodeLog, maxInodeLog = 8, 11
)

// Features that old readers do not understand.
const (
	featureFileType     = 0x01
	featureSparseInodes = 0x02
	featureMetaUUID     = 0x04
	featureBigTime      = 0x08
	featureNeedsRepair  = 0x10
	featureLargeExtents = 0x20
	featureExchange     = 0x40
	featureParents      = 0x80
	readableFeatures    = featureFileType | featureSparseInodes | featureMetaUUID | featureBigTime |
		featureLargeExtents | featureExchange | featureParents
)

type superBlock struct {
	Magic         [4]byte  // 0x00
	BlockSize     uint32   // 0x04
	Blocks        uint64   // 0x08
	RTBlocks      uint64   // 0x10
	RTExtents     uint64   // 0x18
	UUID          [16]byte // 0x20
	LogStart      uint64   // 0x30
	RootInode     uint64   // 0x38
	Unused1       [20]byte // 0x40
	GroupBlocks   uint32   // 0x54
	Groups        uint32   // 0x58
	BitmapBlocks  uint32   // 0x5C
	LogBlocks     uint32   // 0x60
	Version       uint16   // 0x64
	SectorSize    uint16   // 0x66
	InodeSize     uint16   // 0x68
	InodesPer     uint16   // 0x6A
	Label         [12]byte // 0x6C
	BlockLog      uint8    // 0x78
	SectorLog     uint8    // 0x79
	InodeLog      uint8    // 0x7A
	InodesPerLog  uint8    // 0x7B
	GroupLog      uint8    // 0x7C
	Unused2       [3]byte  // 0x7D
	Inodes        uint64   // 0x80
	FreeInodes    uint64   // 0x88
	FreeBlocks    uint64   // 0x90
	Unused3       [28]byte // 0x98
	Alignment     uint32   // 0xB4
	Unit          uint32   // 0xB8
	Width         uint32   // 0xBC
	DirBlockLog   uint8    // 0xC0
	Unused4       [7]byte  // 0xC1
	Features2     uint32   // 0xC8
	BadFeatures2  uint32   // 0xCC
	Compat        uint32   // 0xD0
	ROCompat      uint32   // 0xD4
	Incompat      uint32   // 0xD8
	LogIncompat   uint32   // 0xDC
	Checksum      [4]byte  // 0xE0
	SparseAlign   uint32   // 0xE4
	ProjectInodes uint64   // 0xE8
	LSN           uint64   // 0xF0
	MetaUUID      [16]byte // 0xF8
}

// Offsets of checksums, which are little-endian.
const (
	superChecksum  = 0xE0
	inodeChecksum  = 0x64
	dirChecksum    = 0x04
	daChecksum     = 0x0C // of attributes, and of symbolic links that are not in their inode
	extentChecksum = 0x40
)

// Formats of the content and of the attributes of an inode.
const (
	formatDevice  = 0
	formatLocal   = 1
	formatExtents = 2
	formatBTree   = 3
)

// inodeCore begins each inode. That of version 3, which has checksums, goes on with inodeTail.
type inodeCore struct {
	Magic       [2]byte // 0x00 "IN"
	Mode        uint16  // 0x02
	Version     uint8   // 0x04
	Format      uint8   // 0x05
	OldLinks    uint16  // 0x06
	UID         uint32  // 0x08
	GID         uint32  // 0x0C
	Links       uint32  // 0x10
	Project     uint32  // 0x14
	BigExtents  uint64  // 0x18 with flagLargeExtents
	AccessTime  uint64  // 0x20
	ModifyTime  uint64  // 0x28
	ChangeTime  uint64  // 0x30
	Size        uint64  // 0x38
	Blocks      uint64  // 0x40
	ExtentSize  uint32  // 0x48
	Extents     uint32  // 0x4C
	AttrExtents uint16  // 0x50
	ForkOffset  uint8   // 0x52 of the attributes, in units of eight bytes
	AttrFormat  uint8   // 0x53
	DMState     [6]byte // 0x54
	Flags       uint16  // 0x5A
	Generation  uint32  // 0x5C
	Unlinked    uint32  // 0x60
}

type inodeTail struct {
	Checksum   [4]byte  // 0x64
	Changes    uint64   // 0x68
	LSN        uint64   // 0x70
	Flags2     uint64   // 0x78
	CowSize    uint32   // 0x80
	Unused     [12]byte // 0x84
	CreateTime uint64   // 0x90
	Number     uint64   // 0x98
	UUID       [16]byte // 0xA0
}

const (
	flagRealtime = 0x1
	// flagBigTime and flagLargeExtents are of Flags2.
	flagBigTime      = 0x08
	flagLargeExtents = 0x10
	// bigTimeEpoch is the first second of the large times.
	bigTimeEpoch = -(1 << 31)
)

// blockHeader begins a node of the tree of extents; with checksums, blockTail follows.
type blockHeader struct {
	Magic [4]byte // 0x00
	Level uint16  // 0x04
	Count uint16  // 0x06
	Left  uint64  // 0x08
	Right uint64  // 0x10
}

type blockTail struct {
	At       uint64   // 0x18
	LSN      uint64   // 0x20
	UUID     [16]byte // 0x28
	Owner    uint64   // 0x38
	Checksum [4]byte  // 0x40
	Padding  uint32   // 0x44
}

// dirHeader begins a block of a directory with checksums; the old one has only the magic and Free.
type dirHeader struct {
	Magic    [4]byte  // 0x00
	Checksum [4]byte  // 0x04
	At       uint64   // 0x08
	LSN      uint64   // 0x10
	UUID     [16]byte // 0x18
	Owner    uint64   // 0x28
	Free     [12]byte // 0x30
	Padding  uint32   // 0x3C
}

const oldDirHeader = 16

// leafOffset is where the index of a directory begins, in bytes.
const leafOffset = 32 << 30

// daHeader begins a block of attributes with checksums; the old one ends after Padding.
type daHeader struct {
	Forward  uint32   // 0x00
	Back     uint32   // 0x04
	Magic    uint16   // 0x08
	Padding  uint16   // 0x0A
	Checksum [4]byte  // 0x0C
	At       uint64   // 0x10
	LSN      uint64   // 0x18
	UUID     [16]byte // 0x20
	Owner    uint64   // 0x30
}

const (
	oldDAHeader = 12
	// Magic numbers of nodes and leaves, without and with checksums.
	oldNode, oldLeaf = 0xFEBE, 0xFBEE
	newNode, newLeaf = 0x3EBE, 0x3BEE
)

// attrLeaf follows the header of a leaf of attributes, then there are entries.
type attrLeaf struct {
	Count     uint16   // 0x0
	Used      uint16   // 0x2
	FirstUsed uint16   // 0x4
	Holes     uint8    // 0x6
	Padding   uint8    // 0x7
	Free      [12]byte // 0x8
}

type attrEntry struct {
	Hash    uint32 // 0x0
	Offset  uint16 // 0x4 of name and value
	Flags   uint8  // 0x6
	Padding uint8  // 0x7
}

// Flags of attributes.
const (
	attrLocal      = 0x01
	attrRoot       = 0x02
	attrSecure     = 0x04
	attrParent     = 0x08
	attrIncomplete = 0x80
)

// remoteHeader begins each block with a value or the target of a symbolic link, if there are checksums.
type remoteHeader struct {
	Magic    [4]byte  // 0x00
	Offset   uint32   // 0x04
	Bytes    uint32   // 0x08
	Checksum [4]byte  // 0x0C
	UUID     [16]byte // 0x10
	Owner    uint64   // 0x20
	At       uint64   // 0x28
	LSN      uint64   // 0x30
}

// logHeader is the beginning of a record of the log.
type logHeader struct {
	Magic      uint32 // 0x00
	Cycle      uint32 // 0x04
	Version    uint32 // 0x08
	Length     uint32 // 0x0C
	LSN        uint64 // 0x10
	TailLSN    uint64 // 0x18
	Checksum   uint32 // 0x20
	PrevBlock  uint32 // 0x24
	Operations uint32 // 0x28
}

const (
	logMagic     = 0xFEEDBABE
	logHeaderLog = 32 << 10 // of a record for each block of its header
	logSizeAt    = 0x140    // of the size of records, in a header of version 2
	logFlagsAt   = 9        // of the flags of an operation
	logUnmount   = 0x20
)
