// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Decompress returns a reader of the decompressed file; the suffix of its name tells the compression. Closing
// it does not close r.
func Decompress(r io.Reader, name string) (io.ReadCloser, error) {
	plain, err := decompressor(r, path.Ext(name))
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", name, err)
	}
	return plain, nil
}

// decompressor returns a decoder for a suffix.
func decompressor(r io.Reader, suffix string) (io.ReadCloser, error) {
	switch suffix {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		x, err := xz.NewReader(r, maxDictionary)
		return io.NopCloser(x), err
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxDictionary))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case ".bz2":
		return io.NopCloser(bzip2.NewReader(r)), nil
	case ".lzma":
		l, err := lzma.ReaderConfig{DictCap: maxDictionary}.NewReader(bufio.NewReaderSize(r, readAhead))
		return io.NopCloser(l), err
	case ".tar", "":
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("unsupported compression %q", suffix)
}

const (
	readAhead = 64 << 10
	// maxDictionary limits the memory that a file can make a decoder use, if the decoder has such a limit. dpkg-deb
	// uses at most 64 MiB.
	maxDictionary = 128 << 20
)
