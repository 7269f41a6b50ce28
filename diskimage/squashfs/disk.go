// SPDX-License-Identifier: Apache-2.0

package squashfs

import "encoding/binary"

// Structures on disk, field by field (fs/squashfs/squashfs_fs.h of Linux). Everything is little-endian.

const (
	magic        = 0x73717368 // "hsqs"
	majorVersion = 4
	metadataSize = 8192 // of a block of metadata, when it is decompressed
	// rawMetadata is the flag of a block of metadata that is not compressed, and rawData that of data.
	rawMetadata = 1 << 15
	rawData     = 1 << 24
	// none is the number of what does not exist: a table, a fragment, extended attributes.
	none = 0xffffffff

	minBlockLog, maxBlockLog = 12, 20
)

// superBlock is at the beginning. The tables are at offsets in bytes.
type superBlock struct {
	Magic         uint32 // 0x00
	Inodes        uint32 // 0x04
	Time          uint32 // 0x08
	BlockSize     uint32 // 0x0C
	Fragments     uint32 // 0x10
	Compression   uint16 // 0x14
	BlockLog      uint16 // 0x16
	Flags         uint16 // 0x18
	IDs           uint16 // 0x1A
	Major         uint16 // 0x1C
	Minor         uint16 // 0x1E
	RootInode     uint64 // 0x20
	BytesUsed     uint64 // 0x28
	IDTable       uint64 // 0x30
	XattrTable    uint64 // 0x38
	InodeTable    uint64 // 0x40
	DirTable      uint64 // 0x48
	FragmentTable uint64 // 0x50
	LookupTable   uint64 // 0x58
}

// Types of inodes. Those of the second kind, extendedType higher, hold extended attributes and large numbers.
const (
	typeDir = iota + 1
	typeFile
	typeLink
	typeBlockDevice
	typeCharDevice
	typeFIFO
	typeSocket
	extendedType = 7
)

// inodeHeader begins each inode.
type inodeHeader struct {
	Type       uint16 // 0x00
	Mode       uint16 // 0x02 permissions
	UID        uint16 // 0x04 place in the table of IDs
	GID        uint16 // 0x06
	ModifyTime uint32 // 0x08
	Number     uint32 // 0x0C
}

type dirInode struct {
	StartBlock uint32 // 0x00
	Links      uint32 // 0x04
	Size       uint16 // 0x08 of the list and 3
	Offset     uint16 // 0x0A
	Parent     uint32 // 0x0C
}

type extendedDirInode struct {
	Links      uint32 // 0x00
	Size       uint32 // 0x04
	StartBlock uint32 // 0x08
	Parent     uint32 // 0x0C
	IndexCount uint16 // 0x10
	Offset     uint16 // 0x12
	Xattr      uint32 // 0x14
}

type fileInode struct {
	StartBlock uint32 // 0x00
	Fragment   uint32 // 0x04
	Offset     uint32 // 0x08 in the fragment
	Size       uint32 // 0x0C
}

type extendedFileInode struct {
	StartBlock uint64 // 0x00
	Size       uint64 // 0x08
	Sparse     uint64 // 0x10
	Links      uint32 // 0x18
	Fragment   uint32 // 0x1C
	Offset     uint32 // 0x20
	Xattr      uint32 // 0x24
}

type linkInode struct {
	Links uint32 // 0x00
	Size  uint32 // 0x04
}

type deviceInode struct {
	Links  uint32 // 0x00
	Device uint32 // 0x04
}

// dirHeader begins a run of names whose inodes are in one block of metadata.
type dirHeader struct {
	Count      uint32 // 0x0 and one
	StartBlock uint32 // 0x4
	Number     uint32 // 0x8
}

type dirEntry struct {
	Offset   uint16 // 0x0
	Delta    int16  // 0x2 of the number of the inode
	Type     uint16 // 0x4 of the first kind
	NameSize uint16 // 0x6 and one
}

type fragmentEntry struct {
	Start  uint64 // 0x0
	Size   uint32 // 0x8
	Unused uint32 // 0xC
}

type xattrTable struct {
	Start  uint64 // 0x0
	Count  uint32 // 0x8
	Unused uint32 // 0xC
}

type xattrID struct {
	Reference uint64 // 0x0
	Count     uint32 // 0x8
	Size      uint32 // 0xC
}

type xattrEntry struct {
	Type     uint16 // 0x0
	NameSize uint16 // 0x2
}

// Types of extended attributes, by the prefix of the name, and the flag of a value that is elsewhere.
const (
	xattrTypes   = 0xff
	xattrOutside = 0x100
)

var xattrPrefixes = []string{"user.", "trusted.", "security."}

// size returns the size of a structure on disk.
func size(structure any) int { return binary.Size(structure) }
