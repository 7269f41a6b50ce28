// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// geometry is where the areas of the file system are: superblocks, checkpoints, SIT (which blocks are in
// use), NAT (where nodes are), SSA (what points to blocks), and the main area with nodes and data. Each is a
// number of segments.
type geometry struct {
	blocks   uint64
	segment0 uint32 // address of the first segment

	segments                                  uint32
	sitSegments, natSegments, ssaSegments     uint32 // SIT and NAT have two copies, which are counted
	mainSegments                              uint32
	checkpointAddr, sitAddr, natAddr, ssaAddr uint32
	mainAddr                                  uint32

	payload  uint32 // blocks that the bitmap of a large SIT needs in each checkpoint
	reserved uint32 // segments for cleaning
	overprov uint32 // segments that files cannot have, reserved included
}

// Bounds of mkfs.f2fs: F2FS_MIN_SEGMENTS of include/f2fs_fs.h, and more main segments than there are logs.
const minSegments = 9

// newGeometry divides a partition as mkfs.f2fs does (f2fs_prepare_super_block in mkfs/f2fs_format.c of f2fs-tools 1.15,
// the one of Debian bookworm; 1.16 reserves fewer segments for cleaning).
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
		return geometry{}, fmt.Errorf("%s are not supported: f2fs has at most 16 TiB", size)
	}
	g.segments = uint32(segments)
	g.checkpointAddr = g.segment0
	g.sitAddr = g.checkpointAddr + disk.CheckpointPacks*disk.BlocksPerSegment

	sit := segmentsFor(ceilDiv(g.segments, disk.SITEntriesPerBlock))
	g.sitSegments = 2 * sit
	g.natAddr = g.sitAddr + g.sitSegments*disk.BlocksPerSegment

	left := g.segments - disk.CheckpointPacks - g.sitSegments
	nat := segmentsFor(uint32(ceilDiv(uint64(left)*disk.BlocksPerSegment, disk.NATEntriesPerBlock)))
	// The bitmaps that tell which copy is valid are in the first block of the checkpoint. Each has a bit for a block.
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

// reserve decides how much of the main area files cannot have. f2fs never writes in place, and moves what is
// still needed of old segments to free ones. mkfs.f2fs tries ratios and takes the one that leaves the most
// (get_best_overprovision in include/f2fs_fs.h). It is false if nothing would be left.
//
// The conversions keep the compiler from joining a multiplication and an addition, which some processors
// round otherwise.
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

// maxNodes returns the number of nodes that the NAT has room for; some of the first are not in use.
func (g geometry) maxNodes() uint32 {
	return g.natSegments / 2 * disk.BlocksPerSegment * disk.NATEntriesPerBlock
}

// natBlock returns the address of a block of the NAT's first copy: its segments and those of the second take turns.
func (g geometry) natBlock(i uint32) uint32 {
	return g.natAddr + i/disk.BlocksPerSegment*2*disk.BlocksPerSegment + i%disk.BlocksPerSegment
}

// blocksOf returns the size of a file system with so many segments.
func (g geometry) blocksOf(segments uint32) uint64 {
	return uint64(g.segment0) + uint64(segments)*disk.BlocksPerSegment
}

// bitmapSize returns the length of the bitmap of an area of so many segments.
func bitmapSize(segments uint32) uint32 { return segments * disk.BlocksPerSegment / 8 }

// segmentsFor returns the number of segments with so many blocks.
func segmentsFor(blocks uint32) uint32 { return ceilDiv(blocks, disk.BlocksPerSegment) }

func ceilDiv[T uint32 | uint64](a, b T) T { return (a + b - 1) / b }

// noBlocks returns the error for a file system that has too few blocks.
func noBlocks(needed, available uint64) error {
	return &diskimage.NoSpaceError{What: "blocks", Needed: needed, Available: available, BlockSize: disk.BlockSize}
}
