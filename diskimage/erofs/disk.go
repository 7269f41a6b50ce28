// SPDX-License-Identifier: Apache-2.0

package erofs

// Structures on disk, field by field (fs/erofs/erofs_fs.h of Linux). Everything is little-endian.

const (
	superOffset = 1024
	magic       = 0xE0F5E1E2
	// minBlockBits and maxBlockBits are the logarithms of the block sizes of 512 bytes and 64 KiB.
	minBlockBits, maxBlockBits = 9, 16
	slotSize                   = 32 // of inodes, which have the numbers of their slots
)

// Features that old readers do not understand.
const (
	featureZeroPadding   = 0x001 // compressed data ends at the end of its blocks
	featureBigClusters   = 0x002
	featureChunks        = 0x004
	featureHead2         = 0x008 // or more devices: ExtraDevices is not 0 then
	featureTailPacking   = 0x010
	featureFragments     = 0x020 // or deduplicated blocks
	featureXattrPrefixes = 0x040
	readableFeatures     = 0x07F
	// compatChecksum says that the superblock has a checksum.
	compatChecksum = 0x1
)

type superBlock struct {
	Magic            uint32   // 0x00
	Checksum         uint32   // 0x04
	FeatureCompat    uint32   // 0x08
	BlockBits        uint8    // 0x0C
	ExtSlots         uint8    // 0x0D
	RootInode        uint16   // 0x0E
	Inodes           uint64   // 0x10
	Time             uint64   // 0x18 of all compact inodes
	Nanoseconds      uint32   // 0x20
	Blocks           uint32   // 0x24
	MetaBlock        uint32   // 0x28 of the first inode
	XattrBlock       uint32   // 0x2C of attributes that several files share
	UUID             [16]byte // 0x30
	Label            [16]byte // 0x40
	FeatureIncompat  uint32   // 0x50
	Algorithms       uint16   // 0x54
	ExtraDevices     uint16   // 0x56
	DeviceSlot       uint16   // 0x58
	DirBlockBits     uint8    // 0x5A
	XattrPrefixes    uint8    // 0x5B
	XattrPrefixStart uint32   // 0x5C
	PackedInode      uint64   // 0x60
	Reserved         [24]byte // 0x68
}

// Layouts of the content of an inode.
const (
	layoutPlain             = 0
	layoutCompressed        = 1
	layoutInline            = 2 // the last block follows the inode
	layoutCompressedCompact = 3
	layoutChunks            = 4
)

type compactInode struct {
	Format  uint16 // 0x00
	Xattrs  uint16 // 0x02
	Mode    uint16 // 0x04
	Links   uint16 // 0x06
	Size    uint32 // 0x08
	Time    uint32 // 0x0C
	Content uint32 // 0x10 first block, device number, or format of chunks
	Number  uint32 // 0x14
	UID     uint16 // 0x18
	GID     uint16 // 0x1A
	Unused  uint32 // 0x1C
}

type extendedInode struct {
	Format      uint16   // 0x00
	Xattrs      uint16   // 0x02
	Mode        uint16   // 0x04
	Reserved    uint16   // 0x06
	Size        uint64   // 0x08
	Content     uint32   // 0x10
	Number      uint32   // 0x14
	UID         uint32   // 0x18
	GID         uint32   // 0x1C
	Time        uint64   // 0x20
	Nanoseconds uint32   // 0x28
	Links       uint32   // 0x2C
	Unused      [16]byte // 0x30
}

// xattrHeader begins the attributes of an inode; the numbers of shared ones follow.
type xattrHeader struct {
	Filter   uint32  // 0x0
	Shared   uint8   // 0x4
	Reserved [7]byte // 0x5
}

type xattrEntry struct {
	NameSize  uint8  // 0x0
	Index     uint8  // 0x1
	ValueSize uint16 // 0x2
}

// longPrefix is the flag of an index that means one of the prefixes in the superblock.
const longPrefix = 0x80

// xattrNames are the prefixes by their indexes.
var xattrNames = map[uint8]string{1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default",
	4: "trusted.", 6: "security."}

type dirEntry struct {
	Inode      uint64 // 0x0
	NameOffset uint16 // 0x8
	Type       uint8  // 0xA
	Reserved   uint8  // 0xB
}

// Formats of a file in chunks.
const (
	chunkBits    = 0x1F // the logarithm of the number of blocks
	chunkIndexes = 0x20 // eight bytes for each chunk instead of four
	chunkHole    = 0xFFFFFFFF
)

// mapHeader precedes the clusters of a compressed file.
type mapHeader struct {
	Fragment    uint32 // 0x0 offset in the packed inode; or in its upper half the size of the inline data
	Advice      uint16 // 0x4
	Algorithms  uint8  // 0x6 of head 1, and of head 2 in the upper half
	ClusterBits uint8  // 0x7 more than those of a block; the highest bit: the whole file is in the packed inode
}

// Advice.
const (
	adviceCompact2    = 0x01 // entries of two bytes; with layoutCompressed a list of extents
	adviceBigCluster1 = 0x02
	adviceBigCluster2 = 0x04
	adviceInline      = 0x08
	adviceInterlaced  = 0x10
	adviceFragment    = 0x20
	wholeInPacked     = 0x80
)

// Types of the entry of a logical cluster.
const (
	clusterPlain = iota
	clusterHead1
	clusterNonHead
	clusterHead2
)

// clusterEntry describes a logical cluster in the layout that is not compact.
type clusterEntry struct {
	Advice uint16 // 0x0 type, and the flag of a partial reference
	Offset uint16 // 0x2 where in the logical cluster a new physical one begins
	Block  uint32 // 0x4 of the physical cluster; or two distances
}

const (
	clusterTypes   = 0x3
	partialCluster = 0x8000
	// blockCount is the flag of a distance that is the number of blocks of the physical cluster.
	blockCount = 0x800
)
