// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Compression is a method of compression. Each cluster is compressed on its own.
type Compression string

// Methods of compression. A Debian system of 416 MiB takes, in seconds of processor time: None 0.3
// s; Zlib 4.4 s, 202 MiB (qemu-img: 21 s, 196 MiB); Zstd 2.4 s, 200 MiB (qemu-img: 2.4 s, 193 MiB).
const (
	// None stores clusters uncompressed.
	None Compression = ""
	// Zlib is deflate, which every reader of the format supports.
	Zlib Compression = "zlib"
	// Zstd is smaller and faster, and requires QEMU 5.1 or newer.
	Zstd Compression = "zstd"
)

// Sizes of clusters in bytes.
const (
	MinClusterSize     = 512
	MaxClusterSize     = 2 << 20
	DefaultClusterSize = 64 << 10
)

// Options are the options of an image. The zero value means uncompressed clusters of the default
// size.
type Options struct {
	// ClusterSize is the unit of allocation in bytes: a power of two from MinClusterSize to
	// MaxClusterSize; 0 means DefaultClusterSize. Larger clusters compress better, but reading one
	// byte decompresses a whole cluster.
	ClusterSize int
	Compression Compression
	// Workers is the number of goroutines that read and compress; 0 means one per processor. It
	// does not change the output.
	Workers int
}

// complete fills in defaults and checks the options.
func (o Options) complete() (Options, error) {
	if o.ClusterSize == 0 {
		o.ClusterSize = DefaultClusterSize
	}
	if o.ClusterSize < MinClusterSize || o.ClusterSize > MaxClusterSize || bits.OnesCount(uint(o.ClusterSize)) != 1 {
		return o, fmt.Errorf("qcow2 cluster size %d: not a power of two from %d to %d", o.ClusterSize, MinClusterSize,
			MaxClusterSize)
	}
	switch o.Compression {
	case None, Zlib, Zstd:
		return o, nil
	default:
		return o, fmt.Errorf("unknown qcow2 compression %q; want one of %q, %q", o.Compression, Zlib, Zstd)
	}
}

// newEncoder returns a function that creates the compressor of one worker.
func (o Options) newEncoder() func() (rawimage.Encoder, error) {
	switch o.Compression {
	case Zlib:
		return newZlib
	case Zstd:
		return o.newZstd
	default:
		return nil
	}
}

// deflateWindow is the history that QEMU's decompressor guarantees to keep (windowBits -12 in
// block/qcow2-threads.c). It accepts larger ones while it decompresses a cluster in one call; other
// readers need not.
const deflateWindow = 4 << 10

// newZlib returns a compressor to raw deflate streams.
func newZlib() (rawimage.Encoder, error) {
	w, err := flate.NewWriterWindow(nil, deflateWindow)
	if err != nil {
		return nil, fmt.Errorf("set up deflate: %w", err)
	}
	return func(dst, cluster []byte) ([]byte, error) {
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		if _, err := w.Write(cluster); err != nil {
			return nil, fmt.Errorf("deflate: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("deflate: %w", err)
		}
		return out.Bytes(), nil
	}, nil
}

// newZstd returns a compressor to zstd frames. The fastest level takes two thirds of the time of
// the next one, for a result that is 3 % larger. Checksums are left out: QEMU's own files have
// none.
func (o Options) newZstd() (rawimage.Encoder, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(max(zstd.MinWindowSize, o.ClusterSize)))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	return func(dst, cluster []byte) ([]byte, error) { return w.EncodeAll(cluster, dst), nil }, nil
}
