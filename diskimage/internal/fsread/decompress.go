// SPDX-License-Identifier: Apache-2.0

package fsread

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Method is a method of compression.
type Method int

// Methods. MicroLZMA is LZMA without a header, whose first byte is the complement of the properties.
const (
	Zlib Method = iota + 1
	Deflate
	LZMA
	MicroLZMA
	XZ
	LZ4
	LZO
	Zstd
)

var methodNames = map[Method]string{Zlib: "zlib", Deflate: "deflate", LZMA: "lzma", MicroLZMA: "lzma", XZ: "xz",
	LZ4: "lz4", LZO: "lzo", Zstd: "zstd"}

// zstdReader is for several goroutines at once.
var zstdReader = sync.OnceValues(func() (*zstd.Decoder, error) {
	const maxBlock = 64 << 20 // of several megabytes at most in all formats
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBlock))
})

// Decompress decompresses a block of at most most bytes. A longer one is damaged.
func Decompress(m Method, block []byte, most int) (data []byte, err error) {
	defer func() {
		// Not all decoders are known to check every length of damaged data.
		if r := recover(); r != nil {
			data, err = nil, fmt.Errorf("%v", r)
		}
		if err != nil {
			err = fmt.Errorf("%w: %s: %w", ErrDamaged, methodNames[m], err)
		}
	}()
	switch m {
	case LZ4:
		data = make([]byte, most)
		n, err := lz4.UncompressBlock(block, data)
		return data[:max(n, 0)], err
	case LZO:
		data = make([]byte, most)
		n, err := lzo.Decompress(block, data)
		return data[:max(n, 0)], err
	case Zstd:
		z, err := zstdReader()
		if err != nil {
			return nil, err
		}
		data, err = z.DecodeAll(block, make([]byte, 0, most))
		if errors.Is(err, zstd.ErrMagicMismatch) && len(data) > 0 {
			err = nil // the frame ends before its sectors do
		}
		if err == nil && len(data) > most {
			err = errTooLong
		}
		return data, err
	}
	r, err := stream(m, block, most)
	if err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err == nil && len(data) > most {
		err = errTooLong
	}
	return data, err
}

var errTooLong = errors.New("a block is longer than it may be")

// stream opens a block of the methods whose decoders are streams.
func stream(m Method, block []byte, length int) (io.Reader, error) {
	in := bytes.NewReader(block)
	switch m {
	case Zlib:
		return zlib.NewReader(in)
	case Deflate:
		return flate.NewReader(in), nil
	case XZ:
		return xz.NewReader(in)
	case LZMA:
		return lzma.NewReader(in)
	case MicroLZMA:
		if len(block) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		// The header of the format of lzma(1): properties, size of the dictionary, length.
		head := binary.LittleEndian.AppendUint32([]byte{^block[0]}, lzma.MinDictCap)
		binary.LittleEndian.PutUint32(head[1:], max(uint32(length), lzma.MinDictCap))
		head = binary.LittleEndian.AppendUint64(head, uint64(length))
		return lzma.NewReader(io.MultiReader(bytes.NewReader(append(head, 0)), bytes.NewReader(block[1:])))
	}
	return nil, errors.ErrUnsupported
}
