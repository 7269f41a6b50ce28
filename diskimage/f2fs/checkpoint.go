// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// packBlocks is the number of blocks of a checkpoint pack without the payload: the checkpoint, a
// summary of the last segment of each log, and the checkpoint again.
const packBlocks = 1 + uint32(disk.Logs) + 1

// pack returns the number of blocks in a checkpoint pack.
func (v *volume) pack() uint32 { return packBlocks + v.payload }

// writeCheckpoints writes a checkpoint, with the summaries of the last segments, to the first pack.
// The second pack has version 0, which is older.
func (v *volume) writeCheckpoints(w *blocks.Writer, summaries [disk.Logs][]byte) {
	second := v.checkpointAddr + disk.BlocksPerSegment
	for _, addr := range []uint32{second, second + v.pack() - 1} {
		v.putCheckpoint(w.Block(uint64(addr)), 0)
	}
	v.putCheckpoint(w.Block(uint64(v.checkpointAddr)), v.version)
	for log := range disk.Logs {
		copy(w.Block(uint64(v.checkpointAddr+1+v.payload+uint32(log))), summaries[log])
	}
	v.putCheckpoint(w.Block(uint64(v.checkpointAddr+v.pack()-1)), v.version)
}

// putCheckpoint encodes the first or last block of a checkpoint. The bitmaps stay zero: the first
// copy of every block of the SIT and the NAT is valid.
func (v *volume) putCheckpoint(dst []byte, version uint64) {
	const none = 1<<32 - 1
	cp := disk.Checkpoint{
		Version:          version,
		UserBlockCount:   v.userBlocks(),
		ValidBlockCount:  v.blockCount(),
		ReservedSegments: v.reserved,
		OverprovSegments: v.overprov,
		FreeSegments:     v.mainSegments - v.used,
		Flags:            disk.CheckpointUnmounted,
		PackBlocks:       v.pack(),
		StartSummary:     1 + v.payload,
		ValidNodeCount:   uint32(v.nodeCount()),
		ValidInodeCount:  uint32(len(v.nodes)),
		NextFreeNode:     v.last + 1,
		SITBitmapSize:    bitmapSize(v.sitSegments / 2),
		NATBitmapSize:    bitmapSize(v.natSegments / 2),
		ChecksumOffset:   disk.CheckpointChecksum,
	}
	for i := range cp.CurNodeSegment {
		cp.CurNodeSegment[i], cp.CurDataSegment[i] = none, none
	}
	for log := range disk.HotNode {
		cp.CurDataSegment[log], cp.CurDataBlockOffset[log] = v.current(log)
		cp.CurNodeSegment[log], cp.CurNodeBlockOffset[log] = v.current(disk.HotNode + log)
	}
	disk.Put(dst, cp)
	binary.LittleEndian.PutUint32(dst[disk.CheckpointChecksum:], checksum(dst[:disk.CheckpointChecksum]))
}

// current returns the segment in which a log continues, and the number of its used blocks.
func (v *volume) current(log disk.Log) (segment uint32, offset uint16) {
	return v.starts[log] + uint32(v.counts[log]/disk.BlocksPerSegment), uint16(v.counts[log] % disk.BlocksPerSegment)
}

// checksum returns the CRC-32 of f2fs: the usual polynomial, the magic number as initial value,
// nothing inverted.
func checksum(data []byte) uint32 {
	magic := uint32(disk.Magic)
	return ^crc32.Update(^magic, crc32.IEEETable, data)
}

// writeNAT writes the blocks of the NAT that are in use.
func (v *volume) writeNAT(w *blocks.Writer) {
	table := make([]disk.NATEntry, v.last+1)
	// Their addresses have no meaning, but must not be 0.
	table[disk.InodeNode] = disk.NATEntry{Inode: disk.InodeNode, BlockAddr: 1}
	table[disk.InodeMeta] = disk.NATEntry{Inode: disk.InodeMeta, BlockAddr: 1}
	for _, n := range v.nodes {
		table[n.number] = disk.NATEntry{Inode: n.number, BlockAddr: n.addr}
		for _, e := range n.extras {
			table[e.number] = disk.NATEntry{Inode: n.number, BlockAddr: e.addr}
		}
	}
	var block []byte
	for i, entry := range table {
		if i%disk.NATEntriesPerBlock == 0 {
			block = w.Block(uint64(v.natBlock(uint32(i) / disk.NATEntriesPerBlock)))
		}
		entry.Put(block[i%disk.NATEntriesPerBlock*disk.NATEntrySize:])
	}
}

// writeSIT writes the blocks of the SIT that are in use.
func (v *volume) writeSIT(w *blocks.Writer) {
	var block []byte
	for _, log := range placement {
		left := v.counts[log]
		for i := range uint32(v.logSegments(log)) {
			segment := v.starts[log] + i
			if block == nil || segment%disk.SITEntriesPerBlock == 0 {
				block = w.Block(uint64(v.sitAddr + segment/disk.SITEntriesPerBlock))
			}
			used := min(left, disk.BlocksPerSegment)
			left -= used
			entry := disk.SITEntry{Blocks: uint16(log)<<disk.SITTypeShift | uint16(used)}
			for b := range used {
				entry.ValidMap[b/8] |= 0x80 >> (b % 8)
			}
			disk.Put(block[segment%disk.SITEntriesPerBlock*disk.SITEntrySize:], entry)
		}
	}
}
