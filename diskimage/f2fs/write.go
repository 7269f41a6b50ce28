// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// Write writes the file system: the data of files first, then metadata, superblocks last, so that
// an incomplete image is not mistaken for a file system.
func (v *volume) Write(ctx context.Context, dst io.WriterAt) error {
	if err := blocks.Copy(ctx, dst, v.runs()); err != nil {
		return err
	}
	w := blocks.NewWriter(ctx, dst)
	v.writeData(w)
	if err := v.writeNodes(ctx, dst); err != nil {
		return err
	}
	summaries := v.writeSummaries(w)
	v.writeNAT(w)
	v.writeSIT(w)
	v.writeCheckpoints(w, summaries)
	v.writeSuperBlocks(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write metadata of %s: %w", Type, err)
	}
	return nil
}

// runs returns the locations of the data of all files.
func (v *volume) runs() iter.Seq[blocks.Run] {
	return func(yield func(blocks.Run) bool) {
		for _, n := range v.nodes {
			if n.Type() != unix.S_IFREG {
				continue
			}
			file := &blocks.File{Name: n.Name, Size: n.Size, Open: n.Open}
			addr := n.first
			for _, s := range n.spans {
				count := uint32(s.End - s.Start)
				if !yield(blocks.Run{File: file, Logical: uint32(s.Start), Block: addr, Count: count}) {
					return
				}
				addr += count
			}
		}
	}
}

// writeData writes the blocks of directories and of long symbolic links.
func (v *volume) writeData(w *blocks.Writer) {
	for _, n := range v.nodes {
		switch n.Type() {
		case unix.S_IFDIR:
			addr := n.first
			for _, s := range n.spans {
				for at := s.Start; at < s.End; at++ {
					n.dir.putBlock(uint32(at), w.Block(uint64(addr)))
					addr++
				}
			}
		case unix.S_IFLNK:
			if n.inline == 0 {
				copy(w.Block(uint64(n.first)), n.Target)
			}
		}
	}
}

// writeNodes writes the three logs of nodes side by side.
func (v *volume) writeNodes(ctx context.Context, dst io.WriterAt) error {
	var writers [disk.Logs]*blocks.Writer
	for log := range disk.Logs {
		if log.IsNode() {
			writers[log] = blocks.NewWriter(ctx, dst)
		}
	}
	for _, n := range v.nodes {
		inode := writers[n.nodeLog()].Block(uint64(n.addr))
		if err := v.putInode(inode, n); err != nil {
			return err
		}
		for i, e := range n.extras {
			v.putExtra(writers[n.extraLog(e)].Block(uint64(e.addr)), n, i)
		}
	}
	var errs []error
	for _, w := range writers {
		if w != nil {
			errs = append(errs, w.Flush())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write nodes of %s: %w", Type, err)
	}
	return nil
}

// writeSuperBlocks writes both superblocks.
func (v *volume) writeSuperBlocks(w *blocks.Writer) {
	for i := range uint64(disk.SuperBlocks) {
		disk.Put(w.Block(i)[disk.SuperBlockOffset:], v.superBlock())
	}
}

// superBlock returns the superblock, with the features listed in the package comment.
func (v *volume) superBlock() disk.SuperBlock {
	logSector := uint32(disk.LogBlockSize)
	for size := v.sectorSize; size < disk.BlockSize; size *= 2 {
		logSector--
	}
	return disk.SuperBlock{
		Magic:              disk.Magic,
		MajorVersion:       disk.MajorVersion,
		MinorVersion:       disk.MinorVersion,
		LogSectorSize:      logSector,
		LogSectorsPerBlock: disk.LogBlockSize - logSector,
		LogBlockSize:       disk.LogBlockSize,
		LogBlocksPerSeg:    disk.LogBlocksPerSeg,
		SegmentsPerSection: 1,
		SectionsPerZone:    1,
		BlockCount:         v.blocks,
		SectionCount:       v.mainSegments,
		SegmentCount:       v.segments,
		SegmentCountCP:     disk.CheckpointPacks,
		SegmentCountSIT:    v.sitSegments,
		SegmentCountNAT:    v.natSegments,
		SegmentCountSSA:    v.ssaSegments,
		SegmentCountMain:   v.mainSegments,
		Segment0Addr:       v.segment0,
		CPAddr:             v.checkpointAddr,
		SITAddr:            v.sitAddr,
		NATAddr:            v.natAddr,
		SSAAddr:            v.ssaAddr,
		MainAddr:           v.mainAddr,
		RootInode:          disk.InodeRoot,
		NodeInode:          disk.InodeNode,
		MetaInode:          disk.InodeMeta,
		UUID:               v.uuid,
		VolumeName:         v.label,
		CPPayload:          v.payload,
	}
}
