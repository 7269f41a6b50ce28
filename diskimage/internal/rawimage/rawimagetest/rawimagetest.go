// SPDX-License-Identifier: Apache-2.0

// Package rawimagetest tests writers of disk image formats: it creates raw images with many edge
// cases, and lets qemu-img check the results.
package rawimagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// Content is a kind of data.
type Content int

// Kinds of data.
const (
	Noise  Content = iota // not compressible
	Text                  // compressible
	Zeros                 // stored zeros, not a hole
	Repeat                // one repeated byte, the most compressible
)

// Piece is data in an image.
type Piece struct {
	Offset, Length int64
	Content        Content
}

// Case is a sparse image with pieces of data.
type Case struct {
	Name   string
	Size   int64
	Pieces []Piece
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// Cases returns small images with sizes around the edges of clusters of 64 KiB, 1 MiB and 2 MiB,
// and other edge cases.
func Cases() []Case {
	cases := []Case{
		{"empty", 0, nil},
		{"one byte", 1, []Piece{{0, 1, Text}}},
		{"one sector", 512, []Piece{{0, 512, Noise}}},
		{"odd length", 3*mib + 77, []Piece{{mib, 100, Text}, {3*mib - 5, 82, Noise}}},
		{"hole", 5 * mib, nil},
		{"stored zeros", 5 * mib, []Piece{{0, 5 * mib, Zeros}}},
		{"noise", 7 * mib, []Piece{{0, 7 * mib, Noise}}},
		{"text", 7 * mib, []Piece{{0, 7 * mib, Text}}},
		{"repeat", 7 * mib, []Piece{{0, 7 * mib, Repeat}}},
	}
	for _, unit := range []int64{64 * kib, mib, 2 * mib} {
		for _, size := range []int64{unit - 512, unit, unit + 512, 3*unit + 512} {
			cases = append(cases,
				Case{fmt.Sprintf("%d bytes", size), size, []Piece{{0, size, Text}, {size - 512, 512, Noise}}})
		}
	}
	mixed := Case{Name: "alternating", Size: 40 * mib}
	for i := range int64(150) {
		mixed.Pieces = append(mixed.Pieces, Piece{i * 256 * kib, 40*kib + i*1000, Content(i % 4)})
	}
	return append(cases, mixed)
}

// Large returns a disk of a size with little data: at its start, in its middle, and in its last
// byte.
func Large(size int64) Case {
	return Case{"large", size, []Piece{{0, 512, Text}, {size / 2, 4 * kib, Noise}, {size - 1, 1, Noise}}}
}

// Random returns a case made from a seed.
func Random(seed uint64) Case {
	r := rand.New(rand.NewPCG(seed, 1))
	c := Case{Name: fmt.Sprintf("seed %d", seed), Size: r.Int64N(24*mib) + 1}
	if r.IntN(2) == 0 {
		c.Size = max(c.Size&^511, 512)
	}
	for range r.IntN(40) {
		offset := r.Int64N(c.Size)
		length := min(c.Size-offset, r.Int64N(1<<(9+r.IntN(14)))+1)
		if r.IntN(2) == 0 {
			offset &^= 4*kib - 1
		}
		c.Pieces = append(c.Pieces, Piece{offset, length, Content(r.IntN(4))})
	}
	return c
}

// Make writes the image to a sparse file.
func (c Case) Make(t testing.TB) *os.File {
	t.Helper()
	file := Create(t)
	if err := c.WriteInto(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// RawFile is a file to which an image can be written.
type RawFile interface {
	io.WriterAt
	Truncate(size int64) error
}

// WriteInto writes the image to a file, with holes if the file is empty.
func (c Case) WriteInto(file RawFile) error {
	if err := file.Truncate(c.Size); err != nil {
		return err
	}
	for i, p := range c.Pieces {
		if _, err := file.WriteAt(p.bytes(uint64(i)), p.Offset); err != nil {
			return err
		}
	}
	return nil
}

// MakeStored writes the same image without holes.
func (c Case) MakeStored(t testing.TB) *os.File {
	t.Helper()
	file := Create(t)
	if _, err := io.CopyN(file, zeroReader{}, c.Size); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteInto(file); err != nil {
		t.Fatal(err)
	}
	return file
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// bytes returns the data of a piece.
func (p Piece) bytes(seed uint64) []byte {
	b := make([]byte, p.Length)
	r := rand.New(rand.NewPCG(seed, 2))
	switch p.Content {
	case Noise:
		for i := range b {
			b[i] = byte(r.Uint32() | 1) // never a sector of zeros by chance
		}
	case Text:
		words := []string{"root:x:0:0:root:/root:/bin/bash\n", "/usr/lib/x86_64-linux-gnu/",
			"Depends: libc6 (>= 2.36)\n"}
		for i := 0; i < len(b); {
			i += copy(b[i:], words[r.IntN(len(words))])
		}
	case Repeat:
		for i := range b {
			b[i] = 'R'
		}
	}
	return b
}

// Create creates an empty file that is closed and removed at the end of the test.
func Create(t testing.TB) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// Convert writes a raw image to a file in another format.
type Convert func(ctx context.Context, dst, src *os.File) error

// Output converts an image, and fails the test on an error.
func Output(t testing.TB, src *os.File, convert Convert) *os.File {
	t.Helper()
	dst := Create(t)
	if err := convert(t.Context(), dst, src); err != nil {
		t.Fatal(err)
	}
	return dst
}

// Hash returns the hash of a file.
func Hash(t testing.TB, file *os.File) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, 1<<62)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Info is the output of qemu-img info.
type Info struct {
	VirtualSize int64 `json:"virtual-size"`
}

// Judge fails the test unless qemu-img finds no error in the image, and the size and content of the
// raw image. format is the name in QEMU.
func Judge(t testing.TB, format string, image, raw *os.File) {
	t.Helper()
	inspect(t, format, image, raw)
	diskimagetest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", format, raw.Name(), image.Name())
}

// JudgeLarge does the same as Judge for a disk of Large. It compares only the data, because with
// some formats qemu-img compare takes minutes for the holes.
func JudgeLarge(t testing.TB, format string, image, raw *os.File) {
	t.Helper()
	const sector = 512
	size := inspect(t, format, image, raw)
	for _, p := range Large(size).Pieces {
		first, count := p.Offset/sector, (p.Length+sector-1)/sector
		part := Create(t)
		diskimagetest.Run(t, "qemu-img", "dd", "-f", format, "-O", "raw", "bs=512", fmt.Sprintf("skip=%d", first),
			fmt.Sprintf("count=%d", first+count), "if="+image.Name(), "of="+part.Name())
		want, got := make([]byte, count*sector), make([]byte, count*sector)
		if _, err := raw.ReadAt(want, first*sector); err != nil {
			t.Fatal(err)
		}
		if _, err := part.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("sectors %d to %d differ from the raw image", first, first+count-1)
		}
	}
}

// inspect lets qemu-img check the structure of an image, and returns the size of the disk.
func inspect(t testing.TB, format string, image, raw *os.File) int64 {
	t.Helper()
	var info Info
	out := diskimagetest.Run(t, "qemu-img", "info", "--output=json", "-f", format, image.Name())
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	stat, err := raw.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat.Size() + 511) / 512 * 512; info.VirtualSize != want {
		t.Errorf("virtual size %d, want %d", info.VirtualSize, want)
	}
	if checked[format] {
		diskimagetest.Run(t, "qemu-img", "check", "-f", format, image.Name())
	}
	return info.VirtualSize
}

// checked are the formats that qemu-img check supports.
var checked = map[string]bool{"qcow2": true, "vdi": true, "vhdx": true, "vmdk": true}

// All runs Judge in a subtest for each of Cases of at least minSize bytes.
func All(t *testing.T, format string, minSize int64, convert Convert) {
	t.Helper()
	for _, c := range Cases() {
		if c.Size < minSize {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			raw := c.Make(t)
			Judge(t, format, Output(t, raw, convert), raw)
		})
	}
}

// Same fails the test unless all converters create the same file from an image, with or without
// holes.
func Same(t *testing.T, converters ...Convert) {
	t.Helper()
	for seed := range uint64(4) {
		c := Random(seed)
		sparse, stored := c.Make(t), c.MakeStored(t)
		want := Hash(t, Output(t, sparse, converters[0]))
		for i, convert := range converters {
			for _, raw := range []*os.File{sparse, stored} {
				if got := Hash(t, Output(t, raw, convert)); got != want {
					t.Errorf("%s: converter %d creates a different file (sparse: %v)", c.Name, i, raw == sparse)
				}
			}
		}
	}
}

// Fuzz converts images made from seeds and runs Judge for them.
func Fuzz(f *testing.F, format string, convert Convert) {
	for seed := range uint64(8) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		raw := Random(seed).Make(t)
		Judge(t, format, Output(t, raw, convert), raw)
	})
}
