// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// Write writes the file system: the data of files first, then metadata, superblocks last, so that
// an incomplete image is not mistaken for a file system.
func (v *volume) Write(ctx context.Context, dst io.WriterAt) error {
	if err := blocks.Copy(ctx, dst, v.runs()); err != nil {
		return err
	}
	w := blocks.NewWriter(ctx, dst)
	v.writeResize(w)
	v.writeDirectories(w)
	v.writeXattrBlocks(w)
	v.writeSymlinks(w)
	v.writeJournal(w)
	v.writeOrphans(w)
	v.writeInodes(w, blocks.NewWriter(ctx, dst))
	descs := v.writeBitmaps(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write metadata of %s: %w", v.fsType, err)
	}
	if err := v.writeSuperBlocks(dst, v.encodeDescs(descs)); err != nil {
		return fmt.Errorf("write superblocks of %s: %w", v.fsType, err)
	}
	return nil
}

// runs returns the locations of the data of all files.
func (v *volume) runs() iter.Seq[blocks.Run] {
	return func(yield func(blocks.Run) bool) {
		for _, n := range v.nodes {
			if n == nil || n.Type() != unix.S_IFREG {
				continue
			}
			file := &blocks.File{Name: n.Name, Size: n.Size, Open: n.Open}
			for _, r := range n.mapping.runs {
				if !yield(blocks.Run{File: file, Logical: r.logical, Block: r.block, Count: r.count}) {
					return
				}
			}
		}
	}
}

func (v *volume) writeDirectories(w *blocks.Writer) {
	for _, dir := range v.dirs {
		dw := dirWriter{v.parameters, dir.dir}
		for i := range dir.dir.blocks() {
			dw.block(i, w.Block(dir.mapping.at(uint32(i))))
		}
	}
}

func (v *volume) writeXattrBlocks(w *blocks.Writer) {
	for _, shared := range v.xattrBlocks {
		number := uint64(shared.block)
		block := w.Block(number)
		copy(block, shared.content)
		putUint32(block[disk.XattrRefcountOffset:], shared.refcount)
		putUint32(block[disk.XattrChecksumOffset:], v.sums.XattrBlock(number, block))
	}
}

func (v *volume) writeSymlinks(w *blocks.Writer) {
	for _, n := range v.nodes {
		if n != nil && n.Type() == unix.S_IFLNK && !n.isFast() {
			copy(w.Block(n.mapping.at(0)), n.Target)
		}
	}
}

// writeInodes writes the used parts of the inode tables. The blocks that map files have a writer of
// their own, maps, because they are in a different area.
func (v *volume) writeInodes(w, maps *blocks.Writer) {
	for group := range v.groups {
		used := v.usedInodes(group)
		var block []byte
		for i := range used {
			if i%disk.InodesPerBlock == 0 {
				block = w.Block(v.inodeTable(group) + uint64(i/disk.InodesPerBlock))
			}
			if n := v.inode(group*v.inodesPerGroup + i + 1); n != nil {
				v.putInode(block[i%disk.InodesPerBlock*disk.InodeSize:], n, maps.Block)
			}
		}
	}
	w.Fail(maps.Flush())
}

// writeSuperBlocks writes superblocks and descriptors, the first ones last.
func (v *volume) writeSuperBlocks(dst io.WriterAt, descs []byte) error {
	sb := v.superBlock()
	block := make([]byte, disk.SuperBlockSize)
	for _, group := range append(v.backupGroups(), 0) {
		sb.BlockGroup = uint16(group)
		disk.Put(block, sb)
		sb.Checksum = v.sums.SuperBlock(block)
		disk.Put(block, sb)
		start := int64(v.start(group)) * disk.BlockSize
		if _, err := dst.WriteAt(descs, start+disk.BlockSize); err != nil {
			return err
		}
		if group == 0 {
			start += disk.SuperBlockOffset
		}
		if _, err := dst.WriteAt(block, start); err != nil {
			return err
		}
	}
	return nil
}

func putUint16(dst []byte, n uint16) { binary.LittleEndian.PutUint16(dst, n) }
func putUint32(dst []byte, n uint32) { binary.LittleEndian.PutUint32(dst, n) }
func getUint32(src []byte) uint32    { return binary.LittleEndian.Uint32(src) }
