// SPDX-License-Identifier: Apache-2.0

package tarfile_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// programs are the decompressors by suffix.
var programs = map[string]string{
	".gz": "gzip", ".tgz": "gzip", ".xz": "xz", ".txz": "xz", ".zst": "zstd", ".tzst": "zstd", ".bz2": "bzip2",
	".tbz2": "bzip2",
}

// compress returns the compressed form of data as a file.
func compress(t testing.TB, data []byte, suffix string, threads int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := tarfile.Compress(&b, "x.tar"+suffix, threads)
	if err != nil {
		t.Fatal(err)
	}
	// The length is not a multiple of any size in the package.
	for len(data) > 0 {
		n := min(len(data), 1_234_567)
		if _, err := w.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// sample returns data that needs more than one piece with every method; part of it is noise.
func sample() []byte {
	data := bytes.Repeat([]byte("all work and no play "), 810_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 10_000 {
		data[i*1000] = byte(random.Uint32())
	}
	return data
}

func TestOtherProgramsUncompress(t *testing.T) {
	t.Parallel()
	large := sample()
	for suffix, program := range programs {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			samples := [][]byte{nil, []byte("x")}
			if !strings.HasPrefix(suffix, ".t") {
				samples = append(samples, large)
			}
			for _, data := range samples {
				compressed := compress(t, data, suffix, 2)
				name := filepath.Join(t.TempDir(), "x")
				if err := os.WriteFile(name, compressed, 0o600); err != nil {
					t.Fatal(err)
				}
				got := diskimagetest.Run(t, "sh", "-c", `exec "$0" -dc < "$1"`, diskimagetest.Tool(t, program), name)
				if got != string(data) {
					t.Errorf("%d bytes became %d other bytes", len(data), len(got))
				}
				if len(data) > 1 && len(compressed) > len(data)/10 {
					t.Errorf("%d bytes are %d after compression", len(data), len(compressed))
				}
			}
		})
	}
}

func TestCompressionDoesNotDependOnThreads(t *testing.T) {
	t.Parallel()
	data := sample()
	for _, suffix := range []string{".gz", ".zst", ".bz2", ".xz"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			if !bytes.Equal(compress(t, data, suffix, 3), compress(t, data, suffix, 1)) {
				t.Error("the output of three threads differs from that of one")
			}
		})
	}
}

func TestGzipHeaderHoldsNeitherTimeNorName(t *testing.T) {
	t.Parallel()
	// RFC 1952: magic, method 8, no flags, time 0, no extra flags, unknown system.
	if got, want := compress(t, []byte("x"), ".gz", 1)[:10],
		"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOtherSuffixesAreNotCompressed(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", ".tar", ".img", ".xz.old"} {
		if got := compress(t, []byte("plain"), suffix, 1); string(got) != "plain" {
			t.Errorf("%q: got %q", suffix, got)
		}
	}
	if err := tarfile.CheckName("dir/.xz"); err != nil {
		t.Error(err)
	}
}

func TestUnsupportedCompressionsAreErrors(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"x.tar.lz4", "x.tar.lzma", "x.tar.Z"} {
		if err := tarfile.CheckName(name); err == nil || !strings.Contains(err.Error(), "not supported") {
			t.Errorf("CheckName(%q): got %v", name, err)
		}
		if _, err := tarfile.Compress(io.Discard, name, 1); err == nil {
			t.Errorf("Compress(%q): no error", name)
		}
	}
}

func TestCompressReturnsTheErrorOfItsWriter(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	data := sample()
	for _, suffix := range []string{".gz", ".zst", ".bz2", ".xz"} {
		w, err := tarfile.Compress(writerFunc(func([]byte) (int, error) { return 0, full }), "x"+suffix, 2)
		if err != nil {
			t.Fatal(err)
		}
		_, writeErr := w.Write(data[:5<<20])
		if err := errors.Join(writeErr, w.Close()); !errors.Is(err, full) {
			t.Errorf("%s: got %v, want %v", suffix, err, full)
		}
	}
}
