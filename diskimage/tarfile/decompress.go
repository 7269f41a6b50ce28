// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"golang.org/x/sys/unix"
)

// signature is the first bytes of a compressed file, and its decompressor.
type signature struct {
	name, magic string
	open        func(*bufio.Reader) (io.ReadCloser, error)
}

// signatureSize is the length of the longest signature.
const signatureSize = 6

var signatures = []signature{
	{"gzip", "\x1f\x8b", newGzipReader},
	{"xz", "\xfd7zXZ\x00", newXZReader},
	{"zstd", "\x28\xb5\x2f\xfd", newZstdReader},
	{"bzip2", "BZh", func(r *bufio.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
}

// skippable is the signature of a frame of Zstandard that is not data, but for its first byte, which is 0x50 to 0x5f
// (RFC 8878, 3.1.2). pzstd writes one before each frame.
const skippable = "\x2a\x4d\x18"

// signatureOf returns the signature that a file begins with, or nil.
func signatureOf(head []byte) *signature {
	for i, s := range signatures {
		if bytes.HasPrefix(head, []byte(s.magic)) ||
			s.name == "zstd" && len(head) > len(skippable) && head[0]&0xf0 == 0x50 &&
				bytes.HasPrefix(head[1:], []byte(skippable)) {
			return &signatures[i]
		}
	}
	return nil
}

// maxWindow is the largest window of "zstd --long=31", and larger than any dictionary of xz(1). Memory for it is used only
// as far as there is data.
const maxWindow = 1 << 31

func newZstdReader(r *bufio.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// xzReader calls a file that ends early by the name that the other decoders use.
type xzReader struct{ *xz.Reader }

func newXZReader(r *bufio.Reader) (io.ReadCloser, error) {
	x, err := xz.NewReader(r, maxWindow)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(xzReader{x}), nil
}

// Read implements io.Reader.
func (x xzReader) Read(p []byte) (int, error) {
	n, err := x.Reader.Read(p)
	if errors.Is(err, xz.ErrBuf) {
		err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	}
	return n, err
}

// gzipReader reads the members of a gzip file, and zeros after the last one, with which tapes and devices are filled.
type gzipReader struct {
	*gzip.Reader
	in *bufio.Reader
}

func newGzipReader(r *bufio.Reader) (io.ReadCloser, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipReader{z, r}, nil
}

// Read implements io.Reader.
func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		n, err := g.Reader.Read(p)
		if n > 0 && errors.Is(err, io.EOF) {
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		next, err := g.in.Peek(1)
		if err == nil && next[0] == 0 {
			return 0, g.padding()
		}
		if err != nil {
			return 0, err // io.EOF: this was the last member
		}
		if err := g.Reset(g.in); err != nil {
			return 0, fmt.Errorf("after the end of a gzip member: %w", err)
		}
		g.Multistream(false)
	}
}

// padding returns io.EOF if there are only zeros until then.
func (g *gzipReader) padding() error {
	for {
		b, err := g.in.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return errors.New("after the end of a gzip member: neither zeros nor another member")
		}
	}
}

// Decompress returns a reader of the uncompressed form of r. The first bytes of r select gzip, xz,
// Zstandard, bzip2 or none. Close frees the decompressor; it does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, bufferSize)
	head, err := in.Peek(signatureSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s := signatureOf(head)
	if s == nil {
		return io.NopCloser(in), nil
	}
	out, err := s.open(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return out, nil
}

// IsPlain reports whether r is uncompressed and can be read at any offset. A pipe, for example,
// cannot.
func IsPlain(r io.ReaderAt) (bool, error) {
	head := make([]byte, signatureSize)
	n, err := r.ReadAt(head, 0)
	switch {
	case errors.Is(err, unix.ESPIPE):
		return false, nil
	case err != nil && !errors.Is(err, io.EOF):
		return false, err
	}
	return signatureOf(head[:n]) == nil, nil
}
