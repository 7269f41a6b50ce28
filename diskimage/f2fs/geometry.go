// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// geometry is the layout of the areas: superblocks, checkpoints, SIT (which blocks are in use), NAT
// (where nodes are), SSA (what points to blocks), and the main area with nodes and data. Each area
// has a number of segments.
type geometry struct {
	blocks   uint64
	segment0 uint32 // address of the first segment

	segments                                  uint32
	sitSegments, natSegments, ssaSegments     uint32 // including both copies of SIT and NAT
	mainSegments                              uint32
	checkpointAddr, sitAddr, natAddr, ssaAddr uint32
	mainAddr                                  uint32

	payload  uint32 // blocks that the bitmap of a large SIT needs in each checkpoint
	reserved uint32 // segments for cleaning
	overprov uint32 // segments that files cannot use, including the reserved ones
}

// minSegments is F2FS_MIN_SEGMENTS of include/f2fs_fs.h. There must also be more main segments than
// logs.
const minSegments = 9

// newGeometry divides a partition as mkfs.f2fs does (f2fs_prepare_super_block in mkfs/f2fs_format.c
// of f2fs-tools 1.15, the version of Debian bookworm; 1.16 reserves fewer segments for cleaning).
func newGeometry(p parameters, size diskimage.Size) (geometry, error) {
	g := geometry{blocks: uint64(size) / disk.BlockSize}
	// Both superblocks come before the first segment.
	before := p.start + disk.SuperBlocks*disk.BlockSize
	before = (before+disk.SegmentSize-1)/disk.SegmentSize*disk.SegmentSize - p.start
	g.segment0 = uint32(before / disk.BlockSize)
	least := g.blocksOf(minSegments)
	if g.blocks < least {
		return geometry{}, noBlocks(least, g.blocks)
	}
	segments := (g.blocks - uint64(g.segment0)) / disk.BlocksPerSegment
	if segments > disk.MostSegments {
		return geometry{}, fmt.Errorf("%s are not supported: the maximum on f2fs is 16 TiB", size)
	}
	g.segments = uint32(segments)
	g.checkpointAddr = g.segment0
	g.sitAddr = g.checkpointAddr + disk.CheckpointPacks*disk.BlocksPerSegment

	sit := segmentsFor(ceilDiv(g.segments, disk.SITEntriesPerBlock))
	g.sitSegments = 2 * sit
	g.natAddr = g.sitAddr + g.sitSegments*disk.BlocksPerSegment

	left := g.segments - disk.CheckpointPacks - g.sitSegments
	nat := segmentsFor(uint32(ceilDiv(uint64(left)*disk.BlocksPerSegment, disk.NATEntriesPerBlock)))
	// The bitmaps of valid copies are in the first block of the checkpoint, with one bit for each
	// block.
	room := uint32(disk.BitmapRoom)
	if bitmap := bitmapSize(sit); bitmap > disk.BitmapRoom-disk.LeastNATBitmap {
		g.payload = ceilDiv(bitmap, disk.BlockSize)
	} else {
		room -= bitmap
	}
	nat = min(nat, room*8/disk.BlocksPerSegment)
	g.natSegments = 2 * nat
	g.ssaAddr = g.natAddr + g.natSegments*disk.BlocksPerSegment

	if left <= g.natSegments {
		return geometry{}, noBlocks(least, g.blocks)
	}
	left -= g.natSegments
	g.ssaSegments = segmentsFor(left + 1)
	g.mainAddr = g.ssaAddr + g.ssaSegments*disk.BlocksPerSegment
	if left <= g.ssaSegments+uint32(disk.Logs) {
		return geometry{}, noBlocks(g.blocksOf(g.segments-left+g.ssaSegments+uint32(disk.Logs)+1), g.blocks)
	}
	g.mainSegments = left - g.ssaSegments
	if !g.reserve() {
		return geometry{}, noBlocks(g.blocksOf(g.segments+1), g.blocks)
	}
	return g, nil
}

// reserve computes the part of the main area that files cannot use. f2fs never writes in place; it
// moves the used blocks of old segments to free ones. mkfs.f2fs tries ratios and takes the one that
// leaves the most space (get_best_overprovision in include/f2fs_fs.h). reserve returns false if
// nothing would be left.
//
// The conversions prevent fused multiplication and addition, which some processors round
// differently.
func (g *geometry) reserve() bool {
	ratio, end, step := 0.01, 10.0, 0.01
	if g.mainSegments < 256 {
		ratio, end, step = 10, 95, 5
	}
	// Of the segments for cleaning, six are the current ones of the logs.
	reservedFor := func(ratio float64) float64 { return float64(2*float64(float64(100/ratio)+1)) + float64(disk.Logs) }
	usable := float64(g.mainSegments)
	var best, most float64
	for ; ratio <= end; ratio += step {
		reserved := reservedFor(ratio)
		over := float64((usable-reserved)*ratio) / 100
		if space := usable - reserved - over; space > most {
			most, best = space, ratio
		}
	}
	if best == 0 {
		return false
	}
	g.reserved = uint32(reservedFor(best))
	if g.mainSegments-uint32(disk.Logs) < g.reserved {
		return false
	}
	g.overprov = uint32(float64(float64(g.mainSegments-g.reserved)*best)/100) + g.reserved
	return g.overprov < g.mainSegments
}

// userBlocks returns the number of blocks for nodes and data.
func (g geometry) userBlocks() uint64 {
	return uint64(g.mainSegments-g.overprov) * disk.BlocksPerSegment
}

// maxNodes returns the number of nodes in the NAT, including unused ones at its start.
func (g geometry) maxNodes() uint32 {
	return g.natSegments / 2 * disk.BlocksPerSegment * disk.NATEntriesPerBlock
}

// natBlock returns the address of a block of the NAT's first copy: the segments of both copies
// alternate.
func (g geometry) natBlock(i uint32) uint32 {
	return g.natAddr + i/disk.BlocksPerSegment*2*disk.BlocksPerSegment + i%disk.BlocksPerSegment
}

// blocksOf returns the number of blocks of a file system with this number of segments.
func (g geometry) blocksOf(segments uint32) uint64 {
	return uint64(g.segment0) + uint64(segments)*disk.BlocksPerSegment
}

// bitmapSize returns the length of the bitmap of an area.
func bitmapSize(segments uint32) uint32 { return segments * disk.BlocksPerSegment / 8 }

// segmentsFor returns the number of segments that hold this number of blocks.
func segmentsFor(blocks uint32) uint32 { return ceilDiv(blocks, disk.BlocksPerSegment) }

func ceilDiv[T uint32 | uint64](a, b T) T { return (a + b - 1) / b }

// noBlocks returns the error for a file system that has too few blocks.
func noBlocks(needed, available uint64) error {
	return &diskimage.NoSpaceError{What: "blocks", Needed: needed, Available: available, BlockSize: disk.BlockSize}
}
