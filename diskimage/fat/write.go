// SPDX-License-Identifier: Apache-2.0

package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Write implements diskimage.Volume.
func (v *volume) Write(ctx context.Context, dst io.WriterAt) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &runWriter{dst: dst}
	if err := v.writeMetadata(w); err != nil {
		return fmt.Errorf("write FAT: %w", err)
	}
	for _, c := range v.chains {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := v.clusterOffset(c.first)
		var err error
		if c.node.isDir {
			err = w.write(v.encodeDirectory(c.node), at)
		} else {
			err = copyFile(w, c.node, at)
		}
		if err != nil {
			return fmt.Errorf("write %q: %w", c.node.name, err)
		}
	}
	return w.flush()
}

// writeMetadata writes everything before the first cluster, in the order of the disk.
func (v *volume) writeMetadata(w *runWriter) error {
	boot := v.bootSector()
	reserved := []struct {
		data []byte
		at   int64
	}{{boot, 0}}
	if v.bits == 32 {
		info := v.fsInfo()
		reserved = append(reserved, []struct {
			data []byte
			at   int64
		}{{info, fsInfoSector}, {boot, backupSector}, {info, backupSector + fsInfoSector}}...)
	}
	for _, r := range reserved {
		if err := w.write(r.data, r.at*int64(v.sectorSize)); err != nil {
			return err
		}
	}
	fat := v.encodeFAT()
	for i := range fatCopies {
		if err := w.write(fat, v.fatOffset(i)); err != nil {
			return err
		}
	}
	if v.bits == 32 {
		return nil
	}
	return w.write(v.encodeDirectory(v.root), v.rootOffset())
}

// copyFile copies the content of a file to its clusters.
func copyFile(w *runWriter, n *node, at int64) (err error) {
	content, err := n.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	for done := int64(0); done < n.size; {
		room, err := w.room(at+done, n.size-done)
		if err != nil {
			return err
		}
		got, err := content.ReadAt(room, done)
		if got < len(room) {
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("it has become shorter than %d bytes: %w", n.size, io.ErrUnexpectedEOF)
			}
			return err
		}
		done += int64(got)
	}
	return nil
}

// runLength is the number of bytes written at once: with a median of 7 KiB, one write for each file
// takes twice the time.
const runLength = 1 << 20

// zeroBlock is the unit in which zeros are left out, the block size of most file systems.
const zeroBlock = 4096

// runWriter merges writes at ascending offsets into a few large ones and leaves out blocks of
// zeros.
type runWriter struct {
	dst   io.WriterAt
	buf   []byte
	start int64 // of buf on the disk
}

// room returns between 1 and length bytes of the buffer, to be filled with the content at an
// offset.
func (w *runWriter) room(at, length int64) ([]byte, error) {
	gap := at - w.start - int64(len(w.buf))
	if gap < 0 {
		return nil, fmt.Errorf("BUG: offset %d has been written already", at)
	}
	if gap >= int64(runLength-len(w.buf)) {
		if err := w.flush(); err != nil {
			return nil, err
		}
		// Start at a multiple of a block, so that blocks of zeros are recognised.
		w.start = at / zeroBlock * zeroBlock
		gap = at - w.start
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, runLength)
	}
	old := len(w.buf) + int(gap)
	n := int(min(length, int64(runLength-old)))
	clear(w.buf[len(w.buf) : old+n])
	w.buf = w.buf[:old+n]
	return w.buf[old:], nil
}

// write writes bytes at an offset.
func (w *runWriter) write(b []byte, at int64) error {
	for len(b) > 0 {
		room, err := w.room(at, int64(len(b)))
		if err != nil {
			return err
		}
		n := copy(room, b)
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// flush writes the buffer.
func (w *runWriter) flush() error {
	b, at := w.buf, w.start
	w.buf = w.buf[:0]
	for len(b) > 0 {
		n := zeroRun(b)
		b, at = b[n:], at+int64(n)
		if n = dataRun(b); n == 0 {
			continue
		}
		if _, err := w.dst.WriteAt(b[:n], at); err != nil {
			return err
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// zeroRun returns the length of the blocks of zeros at the start of b.
func zeroRun(b []byte) (n int) {
	for n < len(b) && isZero(b[n:min(n+zeroBlock, len(b))]) {
		n = min(n+zeroBlock, len(b))
	}
	return n
}

// dataRun returns the length of the blocks at the start of b that are not zero.
func dataRun(b []byte) (n int) {
	for n < len(b) && !isZero(b[n:min(n+zeroBlock, len(b))]) {
		n = min(n+zeroBlock, len(b))
	}
	return n
}

var zeros [zeroBlock]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

var _ diskimage.Volume = (*volume)(nil)
