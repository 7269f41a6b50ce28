// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// writeBitmaps writes the bitmaps of the groups and returns the descriptors.
func (v *volume) writeBitmaps(w *blocks.Writer) []disk.GroupDesc {
	descs := make([]disk.GroupDesc, v.groups)
	for group := range v.groups {
		d := &descs[group]
		d.BlockBitmapLo = uint32(v.blockBitmap(group))
		d.InodeBitmapLo = uint32(v.inodeBitmap(group))
		d.InodeTableLo = uint32(v.inodeTable(group))
		if v.groupsCsum() {
			d.Flags |= disk.GroupInodeZeroed
		}
		v.writeBlockBitmap(group, d, w)
	}
	for group := range v.groups {
		v.writeInodeBitmap(group, &descs[group], w)
	}
	for _, dir := range v.dirs {
		d := &descs[(dir.number-1)/v.inodesPerGroup]
		d.UsedDirsLo++
	}
	return descs
}

// writeBlockBitmap marks the blocks of a group that are in use. An unused group has no bitmap,
// except the last one, whose bitmap may need padding.
func (v *volume) writeBlockBitmap(group uint32, d *disk.GroupDesc, w *blocks.Writer) {
	start, end := v.start(group), v.end(group)
	used := v.usedEnd(group)
	d.FreeBlocksLo = uint16(end - used)
	if used == start && group != v.groups-1 && v.groupsCsum() {
		d.Flags |= disk.GroupBlockUninit
		return
	}
	bitmap := w.Block(v.blockBitmap(group))
	setBits(bitmap, 0, used-start)
	setBits(bitmap, end-start, disk.BlocksPerGroup)
	crc := v.sums.Bitmap(bitmap)
	d.BlockBitmapCsumLo, d.BlockBitmapCsumHi = uint16(crc), uint16(crc>>16)
}

// writeInodeBitmap marks the inodes of a group that are in use.
func (v *volume) writeInodeBitmap(group uint32, d *disk.GroupDesc, w *blocks.Writer) {
	used := v.usedInodes(group)
	free := v.inodesPerGroup - used
	d.FreeInodesLo = uint16(free)
	if v.groupsCsum() {
		d.UnusedInodesLo = uint16(free)
		if used == 0 {
			d.Flags |= disk.GroupInodeUninit
			return
		}
	}
	bitmap := w.Block(v.inodeBitmap(group))
	setBits(bitmap, 0, uint64(used))
	setBits(bitmap, uint64(v.inodesPerGroup), 8*disk.BlockSize)
	crc := v.sums.Bitmap(bitmap[:v.inodesPerGroup/8])
	d.InodeBitmapCsumLo, d.InodeBitmapCsumHi = uint16(crc), uint16(crc>>16)
}

// usedInodes returns the number of inodes in use in a group; inodes are used from the first on, without gaps.
func (v *volume) usedInodes(group uint32) uint32 {
	before := uint64(group) * uint64(v.inodesPerGroup)
	if last := uint64(v.lastInode()); last > before {
		return uint32(min(last-before, uint64(v.inodesPerGroup)))
	}
	return 0
}

// setBits sets bits from start to end.
func setBits(bitmap []byte, start, end uint64) {
	for ; start < end && start%8 != 0; start++ {
		bitmap[start/8] |= 1 << (start % 8)
	}
	for ; start+8 <= end; start += 8 {
		bitmap[start/8] = 0xFF
	}
	for ; start < end; start++ {
		bitmap[start/8] |= 1 << (start % 8)
	}
}

// encodeDescs encodes the descriptor table.
func (v *volume) encodeDescs(descs []disk.GroupDesc) []byte {
	table := make([]byte, uint64(v.descBlocks)*disk.BlockSize)
	whole := make([]byte, disk.DescSize64Bit)
	for i, d := range descs {
		disk.Put(whole, d)
		desc := table[i*int(v.descSize):][:v.descSize]
		copy(desc, whole)
		d.Checksum = v.sums.GroupDesc(uint32(i), desc)
		disk.Put(whole, d)
		copy(desc, whole)
	}
	return table
}

// superBlock returns the superblock of group 0.
func (v *volume) superBlock() disk.SuperBlock {
	seconds := uint64(max(0, v.time.seconds))
	low, high := uint32(seconds), uint8(seconds>>32)
	sb := disk.SuperBlock{
		InodesCount:       uint32(v.inodes()),
		BlocksCountLo:     uint32(v.blocks),
		RBlocksCountLo:    uint32(v.reservedBlocks),
		FreeBlocksCountLo: uint32(v.freeBlocks),
		FreeInodesCount:   uint32(v.inodes()) - v.lastInode(),
		LogBlockSize:      disk.LogBlockSize,
		LogClusterSize:    disk.LogBlockSize,
		BlocksPerGroup:    disk.BlocksPerGroup,
		ClustersPerGroup:  disk.BlocksPerGroup,
		InodesPerGroup:    v.inodesPerGroup,
		WriteTime:         low,
		WriteTimeHi:       high,
		MaxMountCount:     disk.MaxMountsNever,
		Magic:             disk.SuperMagic,
		State:             disk.StateClean,
		Errors:            disk.ErrorsContinue,
		LastCheck:         low,
		LastCheckHi:       high,
		Revision:          disk.RevisionDynamic,
		FirstInode:        disk.FirstInode,
		InodeSize:         disk.InodeSize,
		FeatureCompat:     v.compat,
		FeatureIncompat:   v.incompat,
		FeatureROCompat:   v.roCompat,
		UUID:              v.sums.UUID,
		ReservedGDTBlocks: uint16(v.spareDesc),
		HashSeed:          v.hashUUID,
		DefHashVersion:    disk.HashHalfMD4,
		DefaultMountOpts:  disk.MountUserXattr | disk.MountACL,
		MakeTime:          low,
		MakeTimeHi:        high,
		MinExtraIsize:     disk.WantExtraInodeSize,
		WantExtraIsize:    disk.WantExtraInodeSize,
		Flags:             disk.FlagSignedHash,
		OverheadClusters:  uint32(v.overhead()) + v.journalBlocks,
	}
	copy(sb.VolumeName[:], v.label)
	if v.bits64() {
		sb.DescSize = disk.DescSize64Bit
	}
	if v.flexGroups() {
		sb.LogGroupsPerFlex = disk.LogGroupsPerFlex
	}
	if v.metaCsum() {
		sb.ChecksumType = disk.ChecksumCRC32C
	}
	if v.csumSeed() {
		sb.ChecksumSeed = v.sums.Seed
	}
	if v.orphans != nil {
		sb.OrphanFileInode = orphanInode
	}
	if v.journal != nil {
		sb.JournalInode = disk.InodeJournal
		sb.JournalBackupType = disk.JournalBackup
		sb.JournalBlocks = v.journalBackup()
	}
	return sb
}

// journalBackup returns the copy of the journal's inode in the superblock, with which e2fsck finds
// a journal whose inode is lost.
func (v *volume) journalBackup() (backup [17]uint32) {
	scratch := make([]byte, disk.BlockSize)
	field := v.blockField(v.journal, func(uint64) []byte { return scratch })
	for i := range disk.BlockRefs {
		backup[i] = getUint32(field[4*i:])
	}
	size := v.journal.length()
	backup[disk.BlockRefs] = uint32(size >> 32)
	backup[disk.BlockRefs+1] = uint32(size)
	return backup
}
