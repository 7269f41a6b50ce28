// SPDX-License-Identifier: Apache-2.0

package disk

// Inodes with a fixed number.
const (
	InodeRoot    = 2
	InodeResize  = 7
	InodeJournal = 8
	// FirstInode is the first inode that is not reserved, by convention lost+found.
	FirstInode = 11
)

// Parts of a 256-byte inode.
const (
	InodeOldSize = 128 // of the first version of ext2
	InodeUsed    = 160 // length of Inode; extended attributes follow
	// InodeChecksumLoOffset and InodeChecksumHiOffset are the offsets of the checksum, which covers
	// the whole inode with zeros in these fields.
	InodeChecksumLoOffset = 0x7C
	InodeChecksumHiOffset = 0x82
)

// InodeFlags is i_flags.
type InodeFlags uint32

// Inode flags.
const (
	InodeImmutable InodeFlags = 0x00000010 // cannot be changed or removed
	InodeIndex     InodeFlags = 0x00001000 // a hashed directory
	InodeExtents   InodeFlags = 0x00080000 // i_block is the root of an extent tree
)

// Indexes in i_block of a file that is mapped without extents.
const (
	DirectBlocks = 12
	Indirect     = 12
	DoubleInd    = 13
	TripleInd    = 14
	BlockRefs    = 15
)

// BlockField is the size of i_block, and the length of the shortest symbolic link that needs a
// block.
const BlockField = 4 * BlockRefs

// Inode holds the metadata of a file except its name. The time fields with the suffix Extra hold
// two more bits of the seconds, and the nanoseconds.
type Inode struct {
	Mode        uint16           // 0x00
	UIDLo       uint16           // 0x02
	SizeLo      uint32           // 0x04
	AccessTime  uint32           // 0x08
	ChangeTime  uint32           // 0x0C
	ModifyTime  uint32           // 0x10
	DeleteTime  uint32           // 0x14
	GIDLo       uint16           // 0x18
	Links       uint16           // 0x1A
	SectorsLo   uint32           // 0x1C i_blocks
	Flags       InodeFlags       // 0x20
	VersionLo   uint32           // 0x24
	Block       [BlockField]byte // 0x28
	Generation  uint32           // 0x64
	FileACLLo   uint32           // 0x68 block of extended attributes
	SizeHi      uint32           // 0x6C
	FragAddr    uint32           // 0x70
	SectorsHi   uint16           // 0x74
	FileACLHi   uint16           // 0x76
	UIDHi       uint16           // 0x78
	GIDHi       uint16           // 0x7A
	ChecksumLo  uint16           // 0x7C
	Reserved    uint16           // 0x7E
	ExtraSize   uint16           // 0x80 bytes in use beyond InodeOldSize
	ChecksumHi  uint16           // 0x82
	ChangeExtra uint32           // 0x84
	ModifyExtra uint32           // 0x88
	AccessExtra uint32           // 0x8C
	CreateTime  uint32           // 0x90
	CreateExtra uint32           // 0x94
	VersionHi   uint32           // 0x98
	ProjectID   uint32           // 0x9C
}

// Put writes the inode to the start of dst, which must be long enough. There is one for each file,
// too many for the general function Put.
func (i *Inode) Put(dst []byte) {
	b := dst[:0:InodeUsed]
	b = le.AppendUint16(b, i.Mode)
	b = le.AppendUint16(b, i.UIDLo)
	b = le.AppendUint32(b, i.SizeLo)
	b = le.AppendUint32(b, i.AccessTime)
	b = le.AppendUint32(b, i.ChangeTime)
	b = le.AppendUint32(b, i.ModifyTime)
	b = le.AppendUint32(b, i.DeleteTime)
	b = le.AppendUint16(b, i.GIDLo)
	b = le.AppendUint16(b, i.Links)
	b = le.AppendUint32(b, i.SectorsLo)
	b = le.AppendUint32(b, uint32(i.Flags))
	b = le.AppendUint32(b, i.VersionLo)
	b = append(b, i.Block[:]...)
	b = le.AppendUint32(b, i.Generation)
	b = le.AppendUint32(b, i.FileACLLo)
	b = le.AppendUint32(b, i.SizeHi)
	b = le.AppendUint32(b, i.FragAddr)
	b = le.AppendUint16(b, i.SectorsHi)
	b = le.AppendUint16(b, i.FileACLHi)
	b = le.AppendUint16(b, i.UIDHi)
	b = le.AppendUint16(b, i.GIDHi)
	b = le.AppendUint16(b, i.ChecksumLo)
	b = le.AppendUint16(b, i.Reserved)
	b = le.AppendUint16(b, i.ExtraSize)
	b = le.AppendUint16(b, i.ChecksumHi)
	b = le.AppendUint32(b, i.ChangeExtra)
	b = le.AppendUint32(b, i.ModifyExtra)
	b = le.AppendUint32(b, i.AccessExtra)
	b = le.AppendUint32(b, i.CreateTime)
	b = le.AppendUint32(b, i.CreateExtra)
	b = le.AppendUint32(b, i.VersionHi)
	b = le.AppendUint32(b, i.ProjectID)
	_ = b
}
