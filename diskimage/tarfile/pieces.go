// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"bytes"
	"io"
	"sync/atomic"
)

// pieces compresses its input in pieces of equal size, independently and concurrently, and writes
// the results in order. It is for formats that allow concatenation.
type pieces struct {
	size int
	open func(io.Writer) (io.WriteCloser, error)
	buf  []byte
	any  bool // at least one piece has been sent
	done bool // Close has been called
	// queue holds a channel for each piece in progress, in order. Its capacity limits their number.
	queue chan chan piece
	ended chan struct{} // closed when collect returns
	err   atomic.Pointer[error]
}

// piece is a compressed piece.
type piece struct {
	data []byte
	err  error
}

// newPieces starts collect. open starts the compression of one piece.
func newPieces(w io.Writer, size, threads int, open func(io.Writer) (io.WriteCloser, error)) *pieces {
	p := &pieces{
		size: size, open: open, buf: make([]byte, 0, size),
		queue: make(chan chan piece, threads-1), // collect waits for one more
		ended: make(chan struct{}),
	}
	go p.collect(w)
	return p
}

// collect writes the results in the order of the pieces. After an error it discards them.
func (p *pieces) collect(w io.Writer) {
	defer close(p.ended)
	for result := range p.queue {
		got := <-result
		if p.err.Load() != nil {
			continue
		}
		err := got.err
		if err == nil {
			_, err = w.Write(got.data)
		}
		if err != nil {
			p.err.Store(&err)
		}
	}
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		if err := p.err.Load(); err != nil {
			return written, *err
		}
		n := min(len(b)-written, p.size-len(p.buf))
		p.buf = append(p.buf, b[written:written+n]...)
		written += n
		if len(p.buf) == p.size {
			p.send()
		}
	}
	return written, nil
}

// send starts the compression of the buffer, as soon as a thread is free.
func (p *pieces) send() {
	data := p.buf
	p.buf, p.any = make([]byte, 0, p.size), true
	result := make(chan piece, 1)
	p.queue <- result
	go func() { result <- p.compress(data) }()
}

// compress compresses one piece.
func (p *pieces) compress(data []byte) piece {
	var out bytes.Buffer
	z, err := p.open(&out)
	if err != nil {
		return piece{err: err}
	}
	if _, err := z.Write(data); err != nil {
		return piece{err: err}
	}
	err = z.Close() // before reading the bytes: it writes the end
	return piece{data: out.Bytes(), err: err}
}

// Close implements io.Closer. Without input it writes one empty piece, because an empty file is not
// a compressed file.
func (p *pieces) Close() error {
	if !p.done {
		p.done = true
		if len(p.buf) > 0 || !p.any {
			p.send()
		}
		close(p.queue)
		<-p.ended
	}
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}
