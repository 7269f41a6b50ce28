// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"cmp"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

var _ diskimage.UsedSpace = (*volume)(nil)

// Used implements diskimage.UsedSpace: the blocks that are set in the bitmaps.
func (v *volume) Used() []diskimage.Extent {
	var used []diskimage.Extent
	for group := range v.groups {
		start := v.start(group)
		if end := v.usedEnd(group); end > start {
			used = append(used, diskimage.Extent{Offset: int64(start) * disk.BlockSize,
				Length: int64(end-start) * disk.BlockSize})
		}
	}
	return used
}

// Zeros implements diskimage.UsedSpace: the inodes after the last one in use, and the empty
// journal.
func (v *volume) Zeros() []diskimage.Extent {
	var zeros []diskimage.Extent
	add := func(start, end uint64) {
		if end > start {
			zeros = append(zeros, diskimage.Extent{Offset: int64(start) * disk.BlockSize,
				Length: int64(end-start) * disk.BlockSize})
		}
	}
	for group := range v.groups {
		table := v.inodeTable(group)
		used := (uint64(v.usedInodes(group)) + disk.InodesPerBlock - 1) / disk.InodesPerBlock
		add(table+used, table+uint64(v.tableBlocks))
	}
	if v.journal != nil {
		for i, r := range v.journal.mapping.runs {
			start, end := uint64(r.block), uint64(r.block)+uint64(r.count)
			if i == 0 {
				start++ // its superblock
			}
			add(start, end)
		}
	}
	slices.SortFunc(zeros, func(a, b diskimage.Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	return zeros
}

// usedEnd returns the first free block of a group, whose used blocks are contiguous from its start.
func (v *volume) usedEnd(group uint32) uint64 {
	return max(v.fixed(group).end, min(v.next, v.end(group)))
}
