// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// resizeFileBlocks is the length of the resize inode: all that a double indirect block can map.
const resizeFileBlocks = disk.DirectBlocks + disk.PointersPerBlock + disk.PointersPerBlock*disk.PointersPerBlock

// backupGroups returns the groups with copies of the superblock.
func (g geometry) backupGroups() []uint32 {
	var groups []uint32
	for group := uint32(1); group < g.groups; group++ {
		if hasSuper(group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// resizeBlocks returns the number of blocks of the resize inode: the double indirect block, and the
// blocks reserved for descriptors in each group with a superblock.
func (v *volume) resizeBlocks() uint64 {
	return 1 + uint64(v.spareDesc)*uint64(1+len(v.backupGroups()))
}

// writeResize writes the double indirect block of the resize inode and the indirect blocks below
// it. These are the reserved blocks of the first group; each points to its copies in the other
// groups (ext2fs_create_resize_inode, lib/ext2fs/res_gdt.c).
func (v *volume) writeResize(w *blocks.Writer) {
	double := w.Block(uint64(v.doubleBlock))
	first := 1 + v.descBlocks
	for i := range v.spareDesc {
		putUint32(double[4*((v.descBlocks+i)%disk.PointersPerBlock):], first+i)
	}
	backups := v.backupGroups()
	for i := range v.spareDesc {
		copies := w.Block(uint64(first + i))
		for j, group := range backups {
			putUint32(copies[4*j:], uint32(v.start(group))+first+i)
		}
	}
}

// writeJournal writes the superblock of an empty journal. The rest of it is zero.
func (v *volume) writeJournal(w *blocks.Writer) {
	if v.journal == nil {
		return
	}
	disk.PutJournal(w.Block(v.journal.mapping.at(0)), disk.JournalSuperBlock{
		Magic:     disk.JournalMagic,
		BlockType: disk.JournalSuperBlockV2,
		BlockSize: disk.BlockSize,
		MaxLen:    v.journalBlocks,
		First:     1,
		Sequence:  1,
		UUID:      v.sums.UUID,
		Users:     1,
	})
}

// writeOrphans writes an empty orphan file.
func (v *volume) writeOrphans(w *blocks.Writer) {
	for i := range v.orphanBlocks {
		number := v.orphans.mapping.at(i)
		block := w.Block(number)
		tail := disk.OrphanTail{Magic: disk.OrphanMagic}
		tail.Checksum = v.sums.OrphanBlock(orphanInode, generation, number, block[:disk.OrphanTailOffset])
		disk.Put(block[disk.OrphanTailOffset:], tail)
	}
}
