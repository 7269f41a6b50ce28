// SPDX-License-Identifier: Apache-2.0

package disk

// Sizes and offsets in nodes.
const (
	InodeSize = 0x168 // up to the addresses
	// InodeAddrs is the number of addresses in an inode without InlineXattrs.
	InodeAddrs = 923
	// InlineXattrSize is the room for extended attributes at the end of the addresses.
	InlineXattrSize   = 200
	InlineXattrOffset = InodeNodesOffset - InlineXattrSize
	// UsedInodeAddrs is the number of addresses in an inode with InlineXattrs.
	UsedInodeAddrs = InodeAddrs - InlineXattrSize/AddrSize
	AddrSize       = 4
	// InodeNodesOffset is the offset of the node numbers: two direct, two indirect and a double
	// indirect one.
	InodeNodesOffset = InodeSize + InodeAddrs*AddrSize
	// InlineOffset is the offset of inline content: the first address stays 0.
	InlineOffset   = InodeSize + AddrSize
	InlineDataSize = (UsedInodeAddrs - 1) * AddrSize
	// NodeAddrs is the number of addresses in a direct node, and of nodes in an indirect one.
	NodeAddrs    = 1018
	FooterOffset = BlockSize - FooterSize
	FooterSize   = 24
	// XattrNodeSize is the number of bytes of extended attributes in their node.
	XattrNodeSize = FooterOffset
)

// InlineFlags say what an inode contains in place of addresses.
type InlineFlags uint8

// Inline flags.
const (
	InlineXattrs  InlineFlags = 0x01 // room for extended attributes
	InlineData    InlineFlags = 0x02 // content of a file or symbolic link
	InlineEntries InlineFlags = 0x04 // a directory
	DataExist     InlineFlags = 0x08 // InlineData is not empty
)

// Advice and flags of inodes.
const (
	AdviceLostParent = 0x02 // ParentInode is one of several parents
	FlagImmutable    = 0x10
)

// Inode is the fixed part of an inode.
type Inode struct {
	Mode        uint16      // 0x000
	Advice      uint8       // 0x002
	Inline      InlineFlags // 0x003
	UID         uint32      // 0x004
	GID         uint32      // 0x008
	Links       uint32      // 0x00C
	Size        uint64      // 0x010
	Blocks      uint64      // 0x018 including all nodes and this one
	AccessTime  uint64      // 0x020 signed
	ChangeTime  uint64      // 0x028
	ModifyTime  uint64      // 0x030
	AccessNsec  uint32      // 0x038
	ChangeNsec  uint32      // 0x03C
	ModifyNsec  uint32      // 0x040
	Generation  uint32      // 0x044
	Depth       uint32      // 0x048 levels of a directory
	XattrNode   uint32      // 0x04C
	Flags       uint32      // 0x050
	ParentInode uint32      // 0x054
	NameLength  uint32      // 0x058
	Name        [255]byte   // 0x05C
	DirLevel    uint8       // 0x15B
	Extent      [3]uint32   // 0x15C the longest one: file offset, address, length
}

// Put writes the inode to the start of dst, which must be long enough.
func (i *Inode) Put(dst []byte) {
	b := le.AppendUint16(dst[:0:InodeSize], i.Mode)
	b = append(b, i.Advice, uint8(i.Inline))
	for _, v := range []uint32{i.UID, i.GID, i.Links} {
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint64{i.Size, i.Blocks, i.AccessTime, i.ChangeTime, i.ModifyTime} {
		b = le.AppendUint64(b, v)
	}
	for _, v := range []uint32{
		i.AccessNsec, i.ChangeNsec, i.ModifyNsec, i.Generation, i.Depth, i.XattrNode, i.Flags, i.ParentInode,
		i.NameLength,
	} {
		b = le.AppendUint32(b, v)
	}
	b = append(b, i.Name[:]...)
	b = append(b, i.DirLevel)
	for _, v := range i.Extent {
		b = le.AppendUint32(b, v)
	}
	_ = b
}

// Flags of the footer: FooterCold marks nodes of files other than directories; the offset of the
// node in its file follows.
const (
	FooterCold        = 1
	FooterOffsetShift = 3
	// XattrNodeOffset is the offset of the node with extended attributes.
	XattrNodeOffset = 1<<(32-FooterOffsetShift) - 1
)

// Footer ends each node.
type Footer struct {
	Node              uint32 // 0x00
	Inode             uint32 // 0x04
	Flag              uint32 // 0x08
	CheckpointVersion uint64 // 0x0C
	NextAddr          uint32 // 0x14 of the next node in the log
}

// Put writes the footer to its place in a node.
func (f Footer) Put(node []byte) {
	b := le.AppendUint32(node[FooterOffset:FooterOffset:BlockSize], f.Node)
	b = le.AppendUint32(b, f.Inode)
	b = le.AppendUint32(b, f.Flag)
	b = le.AppendUint64(b, f.CheckpointVersion)
	_ = le.AppendUint32(b, f.NextAddr)
}
