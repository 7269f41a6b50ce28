// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// putInode encodes an inode into dst, which is zero, and passes the blocks that map its file to
// emit.
func (v *volume) putInode(dst []byte, n *node, emit func(block uint64) []byte) {
	size := n.length()
	access, accessExtra := v.time.encode()
	modify, modifyExtra := n.mtime.encode()
	inode := disk.Inode{
		Mode:        uint16(n.Mode),
		UIDLo:       uint16(n.UID),
		UIDHi:       uint16(n.UID >> 16),
		GIDLo:       uint16(n.GID),
		GIDHi:       uint16(n.GID >> 16),
		SizeLo:      uint32(size),
		SizeHi:      uint32(size >> 32),
		AccessTime:  access,
		AccessExtra: accessExtra,
		ChangeTime:  access,
		ChangeExtra: accessExtra,
		CreateTime:  access,
		CreateExtra: accessExtra,
		ModifyTime:  modify,
		ModifyExtra: modifyExtra,
		Links:       linkCount(n),
		Block:       v.blockField(n, emit),
		Flags:       v.inodeFlags(n),
		ExtraSize:   disk.WantExtraInodeSize,
	}
	sectors := v.blocksOf(n) * disk.SectorsPerBlock
	inode.SectorsLo, inode.SectorsHi = uint32(sectors), uint16(sectors>>32)
	if n.shared != nil {
		inode.FileACLLo = n.shared.block
	}
	copy(dst[disk.InodeUsed:], n.inline)
	inode.Put(dst)
	if v.metaCsum() {
		crc := v.sums.Inode(n.number, generation, dst[:disk.InodeSize])
		putUint16(dst[disk.InodeChecksumLoOffset:], uint16(crc))
		putUint16(dst[disk.InodeChecksumHiOffset:], uint16(crc>>16))
	}
}

// linkCount returns i_links_count, which is 1 for directories with more links than it can count
// (dir_nlink).
func linkCount(n *node) uint16 {
	if n.links > maxLinks {
		return 1
	}
	return uint16(n.links)
}

// blocksOf returns the number of blocks that are charged to an inode.
func (v *volume) blocksOf(n *node) uint64 {
	if n == v.resize {
		return v.resizeBlocks()
	}
	blocks := n.mapping.dataBlocks() + uint64(len(n.mapping.tree))
	if n.shared != nil {
		blocks++
	}
	return blocks
}

// isMapped reports whether i_block of a node maps blocks.
func (n *node) isMapped() bool {
	switch n.Type() {
	case unix.S_IFREG, unix.S_IFDIR:
		return true
	case unix.S_IFLNK:
		return !n.isFast()
	}
	return false
}

func (v *volume) inodeFlags(n *node) disk.InodeFlags {
	var flags disk.InodeFlags
	if v.extents() && n.isMapped() && n != v.resize {
		flags |= disk.InodeExtents
	}
	if n.dir != nil && n.dir.hashed() {
		flags |= disk.InodeIndex
	}
	if n.Immutable {
		flags |= disk.InodeImmutable
	}
	return flags
}

// blockField encodes i_block.
func (v *volume) blockField(n *node, emit func(block uint64) []byte) (field [disk.BlockField]byte) {
	switch {
	case n == v.resize:
		putUint32(field[4*disk.DoubleInd:], v.doubleBlock)
	case n.isMapped() && v.extents():
		return v.extentTree(n.number, n.mapping, emit)
	case n.isMapped():
		return pointers(n.mapping, emit)
	case n.isFast():
		copy(field[:], n.Target)
	case n.Type() == unix.S_IFCHR, n.Type() == unix.S_IFBLK:
		short, long := n.EncodeDevice()
		putUint32(field[:], short)
		putUint32(field[4:], long)
	}
	return field
}
