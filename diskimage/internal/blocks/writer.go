// SPDX-License-Identifier: Apache-2.0

package blocks

import (
	"bytes"
	"context"
	"io"
)

// Writer collects blocks and writes contiguous ones at once.
type Writer struct {
	ctx   context.Context
	dst   io.WriterAt
	start uint64 // number of the first block in buf
	buf   []byte
	err   error // the first error; nothing is written after it
}

// metadataBuffer is the length of one write of metadata.
const metadataBuffer = 1 << 20

// NewWriter returns a Writer to a disk that is zero.
func NewWriter(ctx context.Context, dst io.WriterAt) *Writer {
	return &Writer{ctx: ctx, dst: dst, buf: make([]byte, 0, metadataBuffer)}
}

// Block returns a buffer of zeros for the content of a block, which must be filled before the next
// method call.
func (w *Writer) Block(number uint64) []byte {
	used := len(w.buf)
	if used > 0 && (used == cap(w.buf) || number != w.start+uint64(used)/Size) {
		_ = w.Flush() // the error is kept, and returned at the end
		used = 0
	}
	if used == 0 {
		w.start = number
	}
	w.buf = w.buf[:used+Size]
	block := w.buf[used:]
	clear(block)
	return block
}

// Flush writes the collected blocks and returns the first error of all writes.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil {
		w.err = WriteNonZero(w.dst, w.buf, int64(w.start)*Size)
	}
	w.buf = w.buf[:0]
	return w.err
}

// Fail records an error, unless it is nil or not the first one.
func (w *Writer) Fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

var zeroBlock [Size]byte

// WriteNonZero writes whole blocks to a disk that is zero: each sequence of blocks that are not
// zero at once.
func WriteNonZero(dst io.WriterAt, data []byte, offset int64) error {
	start := 0
	for i := 0; i <= len(data); i += Size {
		if i < len(data) && !bytes.Equal(data[i:i+Size], zeroBlock[:]) {
			continue
		}
		if start < i {
			if _, err := dst.WriteAt(data[start:i], offset+int64(start)); err != nil {
				return err
			}
		}
		start = i + Size
	}
	return nil
}
