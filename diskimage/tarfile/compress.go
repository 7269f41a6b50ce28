// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/ulikunitz/xz"
)

// Sizes of the pieces that are compressed separately, in bytes. Larger pieces compress better;
// smaller ones need less memory and keep more processors busy. They affect the output.
const (
	gzipPiece  = 1 << 20
	xzPiece    = 2 * xzWindow
	zstdPiece  = 16 << 20
	bzip2Piece = 8 * 900_000 // eight blocks of level 9
	// xzWindow is the dictionary size of "xz -6".
	xzWindow = 8 << 20
)

// Method is the name of a compression method.
type Method string

// The methods. None means no compression.
const (
	None  Method = "none"
	Gzip  Method = "gzip"
	Xz    Method = "xz"
	Zstd  Method = "zstd"
	Bzip2 Method = "bzip2"
)

// method is an implementation of a Method.
type method struct {
	name     Method
	suffixes []string
	// maxLevel is the highest level, or 0 if there is no choice; the lowest level is 1.
	maxLevel int
	// open creates a compressor; level 0 is the default.
	open func(w io.Writer, level, threads int) (io.WriteCloser, error)
}

// methods are compared with the end of a name in this order.
var methods = []method{
	{Gzip, []string{".gz", ".tgz", ".taz"}, 9, openGzip},
	{Xz, []string{".xz", ".txz"}, 0, openXz},
	{Zstd, []string{".zst", ".tzst"}, 22, openZstd},
	{Bzip2, []string{".bz2", ".tbz2", ".tbz"}, 0, openBzip2},
}

// unsupported are the other suffixes of GNU tar's --auto-compress.
var unsupported = []string{".lz", ".lzma", ".tlz", ".lzo", ".lz4", ".Z", ".taZ"}

// CheckName returns an error if Compress does not support the suffix of a file name, so that a
// build can fail early.
func CheckName(filename string) error {
	_, err := methodOf(filename)
	return err
}

// methodOf returns the method for a file name; open is nil if there is none.
func methodOf(filename string) (method, error) {
	for _, m := range methods {
		if hasAnySuffix(filename, m.suffixes) {
			return m, nil
		}
	}
	if hasAnySuffix(filename, unsupported) {
		return method{}, fmt.Errorf("archive %q: this compression is not supported (supported: .gz, .xz, .zst, .bz2)",
			filename)
	}
	return method{}, nil
}

// hasAnySuffix reports whether a name ends with one of the suffixes and is longer than it.
func hasAnySuffix(name string, suffixes []string) bool {
	return slices.ContainsFunc(suffixes,
		func(s string) bool { return len(name) > len(s) && strings.HasSuffix(name, s) })
}

// Compress returns a writer whose compressed form is written to w. The suffix of filename selects
// the method: gzip for .gz and .tgz, xz for .xz and .txz, Zstandard for .zst and .tzst, bzip2 for
// .bz2 and .tbz2. All other names, including .tar, are not compressed. At most threads processors
// are used; less than 1 means all that the process may use (GOMAXPROCS, which respects the quota of
// the control group). The number does not affect the output, nor do the time or the file name.
//
// Close must be called, even after an error: it writes the end and stops the threads. Calling it
// again does nothing. It does not close w. Other goroutines write to w, so a later call than the
// one that caused an error of w may return it.
//
// The levels are the defaults of the programs (gzip and xz 6, zstd 3, bzip2 9). Measured on 70 MB
// of programs and documentation: gzip and Zstandard are equally fast; bzip2 takes 14 times as long
// and xz 20 times, for a result that is 10% and 21% smaller than gzip's.
func Compress(w io.Writer, filename string, threads int) (io.WriteCloser, error) {
	m, err := methodOf(filename)
	if err != nil {
		return nil, err
	}
	if m.open == nil {
		return plain{w}, nil
	}
	out, err := m.open(w, 0, threadsOf(threads))
	if err != nil {
		return nil, fmt.Errorf("compress %q: %w", filename, err)
	}
	return out, nil
}

// NewWriter is Compress with the method by name, and a level of the programs gzip and zstd; 0 is
// the default level. zstd's 22 levels are reduced to four: 1 and 2, 3 to 5, 6 to 9, and above.
func NewWriter(w io.Writer, name Method, level, threads int) (io.WriteCloser, error) {
	if err := CheckLevel(name, level); err != nil {
		return nil, err
	}
	if name == None {
		return plain{w}, nil
	}
	m := methods[slices.IndexFunc(methods, func(m method) bool { return m.name == name })]
	out, err := m.open(w, level, threadsOf(threads))
	if err != nil {
		return nil, fmt.Errorf("compress with %s: %w", name, err)
	}
	return out, nil
}

// CheckLevel returns an error if NewWriter does not support the method and level.
func CheckLevel(name Method, level int) error {
	i := slices.IndexFunc(methods, func(m method) bool { return m.name == name })
	switch {
	case i < 0 && name != None:
		return fmt.Errorf("unknown compression %q", name)
	case level == 0:
		return nil
	case i < 0 || methods[i].maxLevel == 0:
		return fmt.Errorf("compression %q has no levels", name)
	case level < 0 || level > methods[i].maxLevel:
		return fmt.Errorf("level %d of %s: want 1 to %d", level, name, methods[i].maxLevel)
	}
	return nil
}

func threadsOf(n int) int {
	if n < 1 {
		return runtime.GOMAXPROCS(0)
	}
	return n
}

// plain does not compress.
type plain struct{ io.Writer }

// Close implements io.Closer.
func (plain) Close() error { return nil }

// openGzip writes one gzip member, which the simplest readers support. Its header is that of "gzip
// -n".
func openGzip(w io.Writer, level, threads int) (io.WriteCloser, error) {
	if level == 0 {
		level = pgzip.DefaultCompression
	}
	z, err := pgzip.NewWriterLevel(w, level)
	if err != nil {
		return nil, err
	}
	z.ModTime = time.Unix(0, 0) // 0 in the header means no time; pgzip stores the zero Time as a wrong date
	return z, z.SetConcurrency(gzipPiece, threads)
}

// openXz writes a sequence of xz streams, which all readers of .xz files concatenate.
func openXz(w io.Writer, _, threads int) (io.WriteCloser, error) {
	config := xz.WriterConfig{DictCap: xzWindow, CheckSum: xz.CRC64}
	return newPieces(w, xzPiece, threads, func(dst io.Writer) (io.WriteCloser, error) { return config.NewWriter(dst) }),
		nil
}

// openZstd writes a sequence of Zstandard frames, each with a checksum.
func openZstd(w io.Writer, level, threads int) (io.WriteCloser, error) {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	return newPieces(w, zstdPiece, threads, func(dst io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(dst, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1))
	}), nil
}

// openBzip2 writes a sequence of bzip2 streams.
func openBzip2(w io.Writer, _, threads int) (io.WriteCloser, error) {
	config := &bzip2.WriterConfig{Level: bzip2.BestCompression}
	return newPieces(w, bzip2Piece, threads, func(dst io.Writer) (io.WriteCloser,
		error) {
		return bzip2.NewWriter(dst, config)
	}), nil
}
