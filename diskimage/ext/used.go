package ext

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

var _ diskimage.UsedSpace = (*volume)(nil)

// Used implements diskimage.UsedSpace: the blocks that the bitmaps say are in use.
func (v *volume) Used() []diskimage.Extent {
	var used []diskimage.Extent
	for group := range v.groups {
		start := v.start(group)
		if end := v.usedEnd(group); end > start {
			used = append(used, diskimage.Extent{Offset: int64(start) * disk.BlockSize, Length: int64(end-start) * disk.BlockSize})
		}
	}
	return used
}

// usedEnd is the first free block of a group: blocks are used from its start on, without gaps.
func (v *volume) usedEnd(group uint32) uint64 {
	return max(v.fixed(group).end, min(v.next, v.end(group)))
}
