// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

var _ diskimage.UsedSpace = (*volume)(nil)

// extents is a list of parts of the file system.
type extents []diskimage.Extent

// add appends blocks that follow those in the list.
func (e *extents) add(start, end uint32) {
	part := diskimage.Extent{Offset: int64(start) * disk.BlockSize, Length: int64(end-start) * disk.BlockSize}
	if last := len(*e) - 1; last >= 0 && (*e)[last].Offset+(*e)[last].Length == part.Offset {
		(*e)[last].Length += part.Length
	} else if end > start {
		*e = append(*e, part)
	}
}

// Used implements diskimage.UsedSpace: superblocks and checkpoints, the first copies of SIT and
// NAT, and the used parts of the SSA and the main area. The end of the log of warm nodes is
// included, because the kernel looks there for nodes written after the checkpoint and must find
// none.
func (v *volume) Used() []diskimage.Extent {
	var used extents
	used.add(0, disk.SuperBlocks)
	for i := range uint32(disk.CheckpointPacks) {
		start := v.checkpointAddr + i*disk.BlocksPerSegment
		used.add(start, start+v.pack())
	}
	used.add(v.sitAddr, v.sitAddr+v.sitBlocks())
	for at := uint32(0); at < v.natBlocks(); at += disk.BlocksPerSegment {
		used.add(v.natBlock(at), v.natBlock(at)+disk.BlocksPerSegment)
	}
	used.add(v.ssaAddr, v.ssaAddr+v.used)
	for _, log := range placement {
		end := v.logAddr(log) + uint32(v.counts[log])
		if log == disk.WarmNode {
			end++
		}
		used.add(v.logAddr(log), end)
	}
	return used
}

// Zeros implements diskimage.UsedSpace: the free parts of SIT and NAT, and the end of the warm
// nodes.
func (v *volume) Zeros() []diskimage.Extent {
	var zeros extents
	zeros.add(v.sitAddr+ceilDiv(v.used, disk.SITEntriesPerBlock), v.sitAddr+v.sitBlocks())
	for at := v.last/disk.NATEntriesPerBlock + 1; at < v.natBlocks(); {
		next := (at/disk.BlocksPerSegment + 1) * disk.BlocksPerSegment
		zeros.add(v.natBlock(at), v.natBlock(at)+next-at)
		at = next
	}
	end := v.logAddr(disk.WarmNode) + uint32(v.counts[disk.WarmNode])
	zeros.add(end, end+1)
	return zeros
}

// sitBlocks and natBlocks return the numbers of blocks that the kernel reads at mount time.
func (v *volume) sitBlocks() uint32 { return ceilDiv(v.mainSegments, disk.SITEntriesPerBlock) }
func (v *volume) natBlocks() uint32 { return v.natSegments / 2 * disk.BlocksPerSegment }
