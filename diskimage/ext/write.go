package ext

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// Write writes the file system: the data of files first, then metadata, superblocks last, so that what was broken off
// is not taken for a file system.
func (v *volume) Write(ctx context.Context, dst io.WriterAt) error {
	if err := v.writeData(ctx, dst); err != nil {
		return err
	}
	w := newBlockWriter(ctx, dst)
	v.writeResize(w)
	v.writeDirectories(w)
	v.writeXattrBlocks(w)
	v.writeSymlinks(w)
	v.writeJournal(w)
	v.writeOrphans(w)
	v.writeInodes(w, newBlockWriter(ctx, dst))
	descs := v.writeBitmaps(w)
	if err := w.flush(); err != nil {
		return fmt.Errorf("write metadata of %s: %w", v.fsType, err)
	}
	if err := v.writeSuperBlocks(dst, v.encodeDescs(descs)); err != nil {
		return fmt.Errorf("write superblocks of %s: %w", v.fsType, err)
	}
	return nil
}

func (v *volume) writeDirectories(w *blockWriter) {
	for _, dir := range v.dirs {
		dw := dirWriter{v.parameters, dir.dir}
		for i := range dir.dir.blocks() {
			dw.block(i, w.block(dir.mapping.at(uint32(i))))
		}
	}
}

func (v *volume) writeXattrBlocks(w *blockWriter) {
	for _, shared := range v.xattrBlocks {
		number := uint64(shared.block)
		block := w.block(number)
		copy(block, shared.content)
		putUint32(block[disk.XattrRefcountOffset:], shared.refcount)
		if v.metaCsum() {
			putUint32(block[disk.XattrChecksumOffset:], v.xattrBlock(number, block))
		}
	}
}

func (v *volume) writeSymlinks(w *blockWriter) {
	for _, n := range v.nodes {
		if n != nil && n.fileType() == unix.S_IFLNK && !n.isFast() {
			copy(w.block(n.mapping.at(0)), n.target)
		}
	}
}

// writeInodes writes the inode tables as far as they are used. The blocks that map files go through maps, because
// they are elsewhere.
func (v *volume) writeInodes(w, maps *blockWriter) {
	for group := range v.groups {
		used := v.usedInodes(group)
		var block []byte
		for i := range used {
			if i%disk.InodesPerBlock == 0 {
				block = w.block(v.inodeTable(group) + uint64(i/disk.InodesPerBlock))
			}
			if n := v.inode(group*v.inodesPerGroup + i + 1); n != nil {
				v.putInode(block[i%disk.InodesPerBlock*disk.InodeSize:], n, maps.block)
			}
		}
	}
	if err := maps.flush(); err != nil && w.err == nil {
		w.err = err
	}
}

// writeSuperBlocks writes superblocks and descriptors, the first ones last.
func (v *volume) writeSuperBlocks(dst io.WriterAt, descs []byte) error {
	sb := v.superBlock()
	block := make([]byte, disk.SuperBlockSize)
	for _, group := range append(v.backupGroups(), 0) {
		sb.BlockGroup = uint16(group)
		sb.Checksum = 0
		disk.Put(block, sb)
		if v.metaCsum() {
			sb.Checksum = v.checksums.superBlock(block)
			disk.Put(block, sb)
		}
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

// blockWriter collects blocks and writes those in order on the disk at once.
type blockWriter struct {
	ctx   context.Context
	dst   io.WriterAt
	start uint64 // place of the first block in buf
	buf   []byte
	err   error // the first error; nothing is written after it
}

// metadataBuffer is the length of one write of metadata.
const metadataBuffer = 1 << 20

func newBlockWriter(ctx context.Context, dst io.WriterAt) *blockWriter {
	return &blockWriter{ctx: ctx, dst: dst, buf: make([]byte, 0, metadataBuffer)}
}

// block gives room, all zero, for the content of a block. It is to be filled before the next call of a method.
func (w *blockWriter) block(number uint64) []byte {
	used := len(w.buf)
	if used > 0 && (used == cap(w.buf) || number != w.start+uint64(used)/disk.BlockSize) {
		_ = w.flush() // the error is kept, and returned at the end
		used = 0
	}
	if used == 0 {
		w.start = number
	}
	w.buf = w.buf[:used+disk.BlockSize]
	block := w.buf[used:]
	clear(block)
	return block
}

// flush writes what is collected and returns the first error of all writes.
func (w *blockWriter) flush() error {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil {
		w.err = writeBlocks(w.dst, w.buf, int64(w.start)*disk.BlockSize)
	}
	w.buf = w.buf[:0]
	return w.err
}

var zeroBlock [disk.BlockSize]byte

// writeBlocks writes whole blocks to a disk that is zero: runs of blocks that are not zero, each at once.
func writeBlocks(dst io.WriterAt, blocks []byte, offset int64) error {
	start := 0
	for i := 0; i <= len(blocks); i += disk.BlockSize {
		if i < len(blocks) && !bytes.Equal(blocks[i:i+disk.BlockSize], zeroBlock[:]) {
			continue
		}
		if start < i {
			if _, err := dst.WriteAt(blocks[start:i], offset+int64(start)); err != nil {
				return err
			}
		}
		start = i + disk.BlockSize
	}
	return nil
}

func putUint16(dst []byte, n uint16) { binary.LittleEndian.PutUint16(dst, n) }
func putUint32(dst []byte, n uint32) { binary.LittleEndian.PutUint32(dst, n) }
func getUint32(src []byte) uint32    { return binary.LittleEndian.Uint32(src) }
