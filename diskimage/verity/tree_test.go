// SPDX-License-Identifier: Apache-2.0

package verity

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

var options = Options{
	UUID: uuid.MustParse("7d9a7f3e-1f5b-4a3e-9f0e-2b1c0d4e5f60"), Salt: bytes.Repeat([]byte{0xa5, 0x00, 0x17, 0xff}, 8),
}

func TestSuperblockHasOneSector(t *testing.T) {
	t.Parallel()
	if n := binary.Size(superblock{}); n != 512 {
		t.Errorf("got %d bytes", n)
	}
}

// randomData returns blocks of random bytes, and zeros in each seventh.
func randomData(blocks int) []byte {
	data := make([]byte, blocks*BlockSize)
	_, _ = rand.NewChaCha8([32]byte{byte(blocks)}).Read(data)
	for i := 6; i < blocks; i += 7 {
		clear(data[i*BlockSize : (i+1)*BlockSize])
	}
	return data
}

// written returns what a tree writes.
func written(t testing.TB, tree *Tree) []byte {
	t.Helper()
	name := diskimagetest.SparseFile(t, 0)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tree.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

var rootHashLine = regexp.MustCompile(`(?m)^Root hash:\s+([0-9a-f]{64})$`)

// checkWithVeritysetup compares the tree of data with that of veritysetup.
func checkWithVeritysetup(t *testing.T, data []byte, o Options) {
	t.Helper()
	tree, err := New(t.Context(), bytes.NewReader(data), diskimage.Size(len(data)), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dataFile, want, got := filepath.Join(dir, "data"), filepath.Join(dir, "want"), filepath.Join(dir, "got")
	if err := os.WriteFile(dataFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	salt := "-"
	if len(o.Salt) > 0 {
		salt = hex.EncodeToString(o.Salt)
	}
	output := diskimagetest.Run(t, "veritysetup", "format", "--uuid="+o.UUID.String(), "--salt="+salt, dataFile, want)
	match := rootHashLine.FindStringSubmatch(output)
	if match == nil || match[1] != tree.RootHash() {
		t.Errorf("the root hash is %s, veritysetup says\n%s", tree.RootHash(), output)
	}
	content := written(t, tree)
	expected, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	// veritysetup writes the superblock as a sector.
	expected = append(expected, make([]byte, max(0, len(content)-len(expected)))...)
	if !bytes.Equal(content, expected) {
		t.Errorf("%d blocks: the tree differs from that of veritysetup", len(data)/BlockSize)
	}
	if size := HashSize(diskimage.Size(len(data))); size != diskimage.Size(len(content)) {
		t.Errorf("%d blocks: HashSize is %d, the tree has %d bytes", len(data)/BlockSize, size, len(content))
	}
	if err := os.WriteFile(got, content, 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "veritysetup", "verify", dataFile, got, tree.RootHash())
	dump := diskimagetest.Run(t, "veritysetup", "dump", got)
	if !regexp.MustCompile(`UUID:\s+` + o.UUID.String()).MatchString(dump) {
		t.Errorf("veritysetup dump says\n%s", dump)
	}
}

func TestTreeIsThatOfVeritysetup(t *testing.T) {
	t.Parallel()
	for _, blocks := range []int{1, 2, 3, 127, 128, 129, 255, 256, 257, 128*128 - 1, 128 * 128, 128*128 + 1} {
		checkWithVeritysetup(t, randomData(blocks), options)
	}
	for _, salt := range [][]byte{nil, {1}, bytes.Repeat([]byte{7}, MaxSalt)} {
		checkWithVeritysetup(t, randomData(200), Options{UUID: options.UUID, Salt: salt})
	}
}

// FuzzTree compares trees of random lengths and salts with those of veritysetup.
func FuzzTree(f *testing.F) {
	f.Add(uint16(1), []byte("salt"))
	f.Add(uint16(129), []byte{})
	f.Fuzz(func(t *testing.T, blocks uint16, salt []byte) {
		o := Options{UUID: options.UUID, Salt: salt[:min(len(salt), MaxSalt)]}
		checkWithVeritysetup(t, randomData(int(blocks%1000)+1), o)
	})
}

func TestFlippedBitIsFound(t *testing.T) {
	t.Parallel()
	data := randomData(300)
	tree, err := New(t.Context(), bytes.NewReader(data), diskimage.Size(len(data)), options)
	if err != nil {
		t.Fatal(err)
	}
	dir, content := t.TempDir(), written(t, tree)
	verify := func(data, content []byte) error {
		a, b := filepath.Join(dir, "data"), filepath.Join(dir, "tree")
		if err := errors.Join(os.WriteFile(a, data, 0o600), os.WriteFile(b, content, 0o600)); err != nil {
			t.Fatal(err)
		}
		return exec.CommandContext(t.Context(), diskimagetest.Tool(t, "veritysetup"), "verify", a, b, tree.RootHash()).Run()
	}
	if err := verify(data, content); err != nil {
		t.Error(err)
	}
	for name, flipped := range map[string][2][]byte{
		"in the data": {flip(data, 299*BlockSize+17), content}, "in the tree": {data, flip(content, 2*BlockSize+5)},
	} {
		if verify(flipped[0], flipped[1]) == nil {
			t.Errorf("a bit flipped %s is not found", name)
		}
	}
}

// flip returns a copy of b with one bit changed.
func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 4
	return b
}

func TestDataThatEndsEarlierIsFollowedByZeros(t *testing.T) {
	t.Parallel()
	data := randomData(300)[:200*BlockSize+100]
	short, err := New(t.Context(), bytes.NewReader(data), 300*BlockSize, options)
	if err != nil {
		t.Fatal(err)
	}
	whole := append(slices.Clone(data), make([]byte, 300*BlockSize-len(data))...)
	full, err := New(t.Context(), bytes.NewReader(whole), 300*BlockSize, options)
	if err != nil {
		t.Fatal(err)
	}
	if short.RootHash() != full.RootHash() || !bytes.Equal(short.content, full.content) {
		t.Error("the trees differ")
	}
}

func TestPartitionIDsAreTheHalvesOfTheRootHash(t *testing.T) {
	t.Parallel()
	tree, err := New(t.Context(), bytes.NewReader(nil), BlockSize, options)
	if err != nil {
		t.Fatal(err)
	}
	data, hash := tree.PartitionIDs()
	if got := strings.ReplaceAll(data.String()+hash.String(), "-", ""); got != tree.RootHash() {
		t.Errorf("got %s, want %s", got, tree.RootHash())
	}
}

// damaged is a file that cannot be read.
type damaged struct{}

var errDamaged = errors.New("damaged")

func (damaged) ReadAt([]byte, int64) (int, error) { return 0, errDamaged }

func TestMistakesAreErrors(t *testing.T) {
	t.Parallel()
	for _, size := range []diskimage.Size{0, BlockSize - 1, BlockSize + 512} {
		if _, err := New(t.Context(), bytes.NewReader(nil), size, options); err == nil {
			t.Errorf("%s of data: no error", size)
		}
	}
	if _, err := New(t.Context(), bytes.NewReader(nil), BlockSize, Options{Salt: make([]byte, MaxSalt+1)}); err == nil {
		t.Error("a long salt: no error")
	}
	if _, err := New(t.Context(), damaged{}, BlockSize, options); !errors.Is(err, errDamaged) {
		t.Errorf("a damaged file: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, bytes.NewReader(nil), BlockSize, options); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: got %v", err)
	}
	tree, err := New(t.Context(), bytes.NewReader(nil), BlockSize, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Write(t.Context(), diskimagetest.NewFullWriter(0)); err == nil {
		t.Error("a full disk: no error")
	}
	if _, err := tree.Extents("etc/passwd"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkNew hashes data without zeros that are in memory.
func BenchmarkNew(b *testing.B) {
	data := make([]byte, 256<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	benchmark(b, bytes.NewReader(data), diskimage.Size(len(data)))
}

// BenchmarkNewOfZeros hashes the free space of a sparse file.
func BenchmarkNewOfZeros(b *testing.B) {
	f, err := os.Open(diskimagetest.SparseFile(b, 1<<30))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	benchmark(b, f, 1<<30)
}

func benchmark(b *testing.B, data io.ReaderAt, size diskimage.Size) {
	b.Helper()
	b.SetBytes(int64(size))
	for b.Loop() {
		if _, err := New(b.Context(), data, size, options); err != nil {
			b.Fatal(err)
		}
	}
}
