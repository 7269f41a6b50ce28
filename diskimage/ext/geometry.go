// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"math"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// Proportions of mke2fs(8).
const (
	inodeRatio      = 16384 // bytes of the file system for each inode
	reservedPercent = 5     // of the blocks, for root only
	growthFactor    = 1024  // how much the file system can later grow online
	// minSpareGroup is the minimum number of data blocks in the last group; a smaller group is left
	// out.
	minSpareGroup = 50
	// minJournaledBlocks is the size below which a file system gets no journal.
	minJournaledBlocks = 2048
)

// geometry is the layout of the fixed metadata: superblocks, descriptors, bitmaps, inode tables.
type geometry struct {
	blocks         uint64 // without a last group that would be too small
	reservedBlocks uint64 // for root
	groups         uint32
	inodesPerGroup uint32
	tableBlocks    uint32 // of each group's inode table
	descSize       uint32
	descBlocks     uint32
	spareDesc      uint32 // blocks reserved for more descriptors (s_reserved_gdt_blocks)
	flexSize       uint32 // groups that keep their bitmaps and inode tables together
	journalBlocks  uint32 // 0: no journal
	orphanBlocks   uint32
}

// span is a range of blocks, without its end.
type span struct{ start, end uint64 }

// newGeometry divides a partition as ext2fs_initialize does (lib/ext2fs/initialize.c).
func newGeometry(f features, size diskimage.Size) (geometry, error) {
	const mostBlocks = math.MaxUint32 // larger file systems need meta_bg instead of resize_inode
	blocks := uint64(size) / disk.BlockSize
	if blocks == 0 {
		return geometry{}, noBlocks(1, 0)
	}
	if blocks > mostBlocks {
		return geometry{}, fmt.Errorf("more than %d blocks of %d bytes are not supported", uint64(mostBlocks),
			disk.BlockSize)
	}
	g := geometry{
		blocks:         blocks,
		reservedBlocks: blocks * reservedPercent / 100,
		descSize:       disk.DescSizeOld,
		flexSize:       1,
	}
	if f.bits64() {
		g.descSize = disk.DescSize64Bit
	}
	if f.flexGroups() {
		g.flexSize = 1 << disk.LogGroupsPerFlex
	}
	inodes := uint64(size) / inodeRatio
	for {
		g.divide(inodes)
		rest := g.blocks % disk.BlocksPerGroup
		last := g.groups - 1
		overhead := g.superBlocks(last) + 2 + uint64(g.tableBlocks)
		if last == 0 && rest != 0 && rest < overhead {
			return geometry{}, noBlocks(overhead, g.blocks)
		}
		if rest == 0 || rest >= overhead+minSpareGroup || last == 0 {
			break
		}
		g.reservedBlocks = g.reservedBlocks * (g.blocks - rest) / g.blocks
		g.blocks -= rest
	}
	if f.journal() {
		g.journalBlocks = journalBlocks(g.blocks)
	}
	if f.orphanFile() && g.journalBlocks > 0 {
		g.orphanBlocks = orphanBlocks(g.blocks)
	}
	return g, nil
}

// divide computes the fields that depend on the number of blocks.
func (g *geometry) divide(inodes uint64) {
	g.groups = uint32(ceilDiv(g.blocks, disk.BlocksPerGroup))
	perGroup := ceilDiv(max(inodes, disk.FirstInode+1), uint64(g.groups))
	g.tableBlocks = uint32(ceilDiv(perGroup, disk.InodesPerBlock))
	g.inodesPerGroup = g.tableBlocks * disk.InodesPerBlock
	perBlock := uint64(disk.BlockSize / g.descSize)
	g.descBlocks = uint32(ceilDiv(uint64(g.groups), perBlock))

	most := min(g.blocks*growthFactor, math.MaxUint32)
	spare := ceilDiv(ceilDiv(most, disk.BlocksPerGroup), perBlock) - uint64(g.descBlocks)
	g.spareDesc = uint32(min(spare, disk.PointersPerBlock))
}

// journalBlocks returns the size of the journal (ext2fs_default_journal_size).
func journalBlocks(blocks uint64) uint32 {
	sizes := []struct {
		below   uint64 // blocks of the file system
		journal uint32
	}{
		{minJournaledBlocks, 0},
		{32 << 10, 1 << 10},
		{256 << 10, 4 << 10},
		{512 << 10, 8 << 10},
		{4 << 20, 16 << 10},
		{8 << 20, 32 << 10},
		{16 << 20, 64 << 10},
		{32 << 20, 128 << 10},
	}
	for _, s := range sizes {
		if blocks < s.below {
			return s.journal
		}
	}
	return 256 << 10
}

// orphanBlocks returns the size of the orphan file (ext2fs_default_orphan_file_blocks).
func orphanBlocks(blocks uint64) uint32 {
	switch {
	case blocks < 128<<10:
		return 32
	case blocks < 2<<20:
		return uint32(blocks / 4096)
	}
	return 512
}

func ceilDiv(a, b uint64) uint64 { return (a + b - 1) / b }

// noBlocks returns the error for a file system that has too few blocks.
func noBlocks(needed, available uint64) error {
	return &diskimage.NoSpaceError{What: "blocks", Needed: needed, Available: available, BlockSize: disk.BlockSize}
}

// hasSuper reports whether a group begins with a copy of the superblock and the descriptors (sparse_super).
func hasSuper(group uint32) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < uint64(group) {
			power *= base
		}
		if power == uint64(group) {
			return true
		}
	}
	return false
}

// superBlocks returns the number of blocks at the start of a group for the superblock, the
// descriptors and their reserve.
func (g geometry) superBlocks(group uint32) uint64 {
	if !hasSuper(group) {
		return 0
	}
	return 1 + uint64(g.descBlocks) + uint64(g.spareDesc)
}

// start returns the first block of a group.
func (g geometry) start(group uint32) uint64 { return uint64(group) * disk.BlocksPerGroup }

// end returns the first block after a group.
func (g geometry) end(group uint32) uint64 { return min(g.start(group+1), g.blocks) }

// flex returns the first group of a flex group and the number of its groups.
func (g geometry) flex(group uint32) (first, n uint32) {
	first = group - group%g.flexSize
	return first, min(g.flexSize, g.groups-first)
}

// metadata returns the start of the block bitmaps of a flex group. The inode bitmaps follow, then
// the inode tables.
func (g geometry) metadata(first uint32) uint64 { return g.start(first) + g.superBlocks(first) }

func (g geometry) blockBitmap(group uint32) uint64 {
	first, _ := g.flex(group)
	return g.metadata(first) + uint64(group-first)
}

func (g geometry) inodeBitmap(group uint32) uint64 {
	_, n := g.flex(group)
	return g.blockBitmap(group) + uint64(n)
}

func (g geometry) inodeTable(group uint32) uint64 {
	first, n := g.flex(group)
	return g.metadata(first) + 2*uint64(n) + uint64(group-first)*uint64(g.tableBlocks)
}

// fixed returns the fixed metadata at the start of a group; the rest of the group is for files.
func (g geometry) fixed(group uint32) span {
	s := span{g.start(group), g.start(group) + g.superBlocks(group)}
	if first, n := g.flex(group); first == group {
		s.end += uint64(n) * (2 + uint64(g.tableBlocks))
	}
	return s
}

// overhead returns the number of blocks of fixed metadata.
func (g geometry) overhead() uint64 {
	var sum uint64
	for group := range g.groups {
		s := g.fixed(group)
		sum += s.end - s.start
	}
	return sum
}

// inodes returns the number of inodes.
func (g geometry) inodes() uint64 { return uint64(g.groups) * uint64(g.inodesPerGroup) }
