// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// signature is the first bytes of a compressed file, and its decompressor.
type signature struct {
	name, magic string
	open        func(io.Reader) (io.ReadCloser, error)
}

// signatureSize is the length of the longest signature.
const signatureSize = 6

var signatures = []signature{
	{"gzip", "\x1f\x8b", func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
	{"xz", "\xfd7zXZ\x00", func(r io.Reader) (io.ReadCloser, error) {
		x, err := xz.NewReader(r)
		return io.NopCloser(x), err
	}},
	{"zstd", "\x28\xb5\x2f\xfd", func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}},
	{"bzip2", "BZh", func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
}

// Decompress returns a reader of the uncompressed form of r. The first bytes of r select gzip, xz,
// Zstandard, bzip2 or none. Close frees the decompressor; it does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, bufferSize)
	head, err := in.Peek(signatureSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, s := range signatures {
		if !bytes.HasPrefix(head, []byte(s.magic)) {
			continue
		}
		out, err := s.open(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		return out, nil
	}
	return io.NopCloser(in), nil
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
	return !slices.ContainsFunc(signatures,
			func(s signature) bool { return bytes.HasPrefix(head[:n], []byte(s.magic)) }),
		nil
}
