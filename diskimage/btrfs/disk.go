// SPDX-License-Identifier: Apache-2.0

package btrfs

// Structures on disk, field by field (include/uapi/linux/btrfs_tree.h of Linux). Everything is little-endian.

const (
	superOffset = 64 << 10
	superSize   = 4096
	magic       = "_BHRfS_M"
	// Offsets in the superblock and in nodes, of what a checksum is about.
	checksumSize = 32
	// systemChunks is the room for the chunks that hold the tree of chunks.
	systemChunks = 2048

	minSector, maxNode = 512, 64 << 10
	maxLevel           = 8
)

// Numbers of trees and other objects.
const (
	treeRoot        = 1
	treeChunk       = 3
	treeFiles       = 5
	objectDirOfTree = 6   // with the name of the default subvolume
	objectFirstFree = 256 // the root directory of a subvolume
	objectLastFree  = 1<<64 - 256
	objectChunks    = 256
)

// Types of items.
const (
	keyInode    = 1
	keyXattr    = 24
	keyDirItem  = 84
	keyDirIndex = 96
	keyExtent   = 108
	keyRoot     = 132
	keyRootRef  = 156
	keyChunk    = 228
)

// Features that old readers do not understand.
const (
	featureMixedBackref   = 0x0001
	featureDefaultSubvol  = 0x0002
	featureMixedGroups    = 0x0004
	featureLZO            = 0x0008
	featureZstd           = 0x0010
	featureBigMetadata    = 0x0020
	featureExtendedIref   = 0x0040
	featureSkinnyMetadata = 0x0100
	featureNoHoles        = 0x0200
	featureMetadataUUID   = 0x0400
	featureRAID1C34       = 0x0800
	featureExtentTreeV2   = 0x2000 // unfinished
	readableFeatures      = featureMixedBackref | featureDefaultSubvol | featureMixedGroups | featureLZO | featureZstd |
		featureBigMetadata | featureExtendedIref | featureSkinnyMetadata | featureNoHoles | featureMetadataUUID
)

// device is a device as the superblock describes it.
type device struct {
	ID          uint64   // 0x00
	TotalBytes  uint64   // 0x08
	BytesUsed   uint64   // 0x10
	Align       uint32   // 0x18
	Width       uint32   // 0x1C
	SectorSize  uint32   // 0x20
	Type        uint64   // 0x24
	Generation  uint64   // 0x2C
	StartOffset uint64   // 0x34
	Group       uint32   // 0x3C
	SeekSpeed   uint8    // 0x40
	Bandwidth   uint8    // 0x41
	UUID        [16]byte // 0x42
	FSID        [16]byte // 0x52
}

type superBlock struct {
	Checksum       [checksumSize]byte // 0x000
	FSID           [16]byte           // 0x020
	At             uint64             // 0x030
	Flags          uint64             // 0x038
	Magic          [8]byte            // 0x040
	Generation     uint64             // 0x048
	Root           uint64             // 0x050 of the tree of trees
	ChunkRoot      uint64             // 0x058
	LogRoot        uint64             // 0x060
	LogTransaction uint64             // 0x068
	TotalBytes     uint64             // 0x070
	BytesUsed      uint64             // 0x078
	RootDir        uint64             // 0x080
	Devices        uint64             // 0x088
	SectorSize     uint32             // 0x090
	NodeSize       uint32             // 0x094
	LeafSize       uint32             // 0x098
	StripeSize     uint32             // 0x09C
	SystemSize     uint32             // 0x0A0 of the chunks below
	ChunkGen       uint64             // 0x0A4
	Compat         uint64             // 0x0AC
	CompatRO       uint64             // 0x0B4
	Incompat       uint64             // 0x0BC
	ChecksumType   uint16             // 0x0C4
	RootLevel      uint8              // 0x0C6
	ChunkLevel     uint8              // 0x0C7
	LogLevel       uint8              // 0x0C8
	Device         device             // 0x0C9
	Label          [256]byte          // 0x12B
	CacheGen       uint64             // 0x22B
	UUIDGen        uint64             // 0x233
	MetadataUUID   [16]byte           // 0x23B
	Reserved       [224]byte          // 0x24B
	SystemChunks   [systemChunks]byte // 0x32B
}

// key identifies an item; the items of a tree are in the order of their keys.
type key struct {
	Object uint64 // 0x0
	Type   uint8  // 0x8
	Offset uint64 // 0x9
}

// header begins each node.
type header struct {
	Checksum   [checksumSize]byte // 0x00
	FSID       [16]byte           // 0x20
	At         uint64             // 0x30
	Flags      uint64             // 0x38
	ChunkUUID  [16]byte           // 0x40
	Generation uint64             // 0x50
	Owner      uint64             // 0x58
	Items      uint32             // 0x60
	Level      uint8              // 0x64
}

// item is an entry of a leaf; its data is at an offset from the end of the header.
type item struct {
	Key    key    // 0x00
	Offset uint32 // 0x11
	Size   uint32 // 0x15
}

// pointer is an entry of another node.
type pointer struct {
	Key        key    // 0x00
	At         uint64 // 0x11
	Generation uint64 // 0x19
}

// chunk maps logical addresses, from the offset of its key on, to devices; its stripes follow.
type chunk struct {
	Length     uint64 // 0x00
	Owner      uint64 // 0x08
	StripeSize uint64 // 0x10
	Type       uint64 // 0x18
	Align      uint32 // 0x20
	Width      uint32 // 0x24
	SectorSize uint32 // 0x28
	Stripes    uint16 // 0x2C
	SubStripes uint16 // 0x2E
}

type stripe struct {
	Device     uint64   // 0x00
	Offset     uint64   // 0x08
	DeviceUUID [16]byte // 0x10
}

// manyStripes are the kinds of chunks whose data is spread over stripes: RAID 0, 10, 5 and 6.
const manyStripes = 1<<3 | 1<<6 | 1<<7 | 1<<8

type timespec struct {
	Seconds     int64  // 0x0
	Nanoseconds uint32 // 0x8
}

type inodeItem struct {
	Generation uint64    // 0x00
	Transid    uint64    // 0x08
	Size       uint64    // 0x10
	Bytes      uint64    // 0x18
	BlockGroup uint64    // 0x20
	Links      uint32    // 0x28
	UID        uint32    // 0x2C
	GID        uint32    // 0x30
	Mode       uint32    // 0x34
	Device     uint64    // 0x38
	Flags      uint64    // 0x40
	Sequence   uint64    // 0x48
	Reserved   [4]uint64 // 0x50
	AccessTime timespec  // 0x70
	ChangeTime timespec  // 0x7C
	ModifyTime timespec  // 0x88
	OtherTime  timespec  // 0x94
}

// rootItem is the beginning of the item of a tree.
type rootItem struct {
	Inode      inodeItem // 0x00
	Generation uint64    // 0xA0
	RootDir    uint64    // 0xA8
	At         uint64    // 0xB0
	ByteLimit  uint64    // 0xB8
	BytesUsed  uint64    // 0xC0
	LastSnap   uint64    // 0xC8
	Flags      uint64    // 0xD0
	Refs       uint32    // 0xD8
	Drop       key       // 0xDC
	DropLevel  uint8     // 0xED
	Level      uint8     // 0xEE
}

// dirItem is a name, or an extended attribute, whose value follows its name.
type dirItem struct {
	Location key    // 0x00
	Transid  uint64 // 0x11
	DataSize uint16 // 0x19
	NameSize uint16 // 0x1B
	Type     uint8  // 0x1D
}

// extentItem is a part of a file. An inline one is followed by its data.
type extentItem struct {
	Generation  uint64 // 0x00
	RAMBytes    uint64 // 0x08 when it is decompressed
	Compression uint8  // 0x10
	Encryption  uint8  // 0x11
	Encoding    uint16 // 0x12
	Type        uint8  // 0x14
}

// extentPlace follows it, unless it is inline.
type extentPlace struct {
	At       uint64 // 0x00 logical; 0 is a hole
	DiskSize uint64 // 0x08
	Offset   uint64 // 0x10 in what is decompressed
	Length   uint64 // 0x18
}

// Types of extents.
const (
	extentInline    = 0
	extentRegular   = 1
	extentPrealloc  = 2 // reserved and not written: zeros
	maxInlineExtent = 64 << 10
	maxCompressed   = 1 << 20 // of an extent, decompressed; the kernel's are 128 KiB
)
