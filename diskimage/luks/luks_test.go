// SPDX-License-Identifier: Apache-2.0

package luks_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containers/luksy"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/luks"
)

const (
	passphrase = "correct horse"
	size       = luks.HeaderSize + 16*diskimage.MiB
)

var id = uuid.MustParse("7d9a7f3e-1f5b-4a3e-9f0e-2b1c0d4e5f60")

// keys open the container of the tests.
var keys = []luks.Key{
	{Secret: []byte(passphrase)},
	{Secret: []byte("a key file\x00\nof two lines\n")},
	{Secret: []byte("vcbjbkij-the-recovery-key"), Recovery: true},
}

// plan plans an ext4 file system with some MiB of files.
func plan(t testing.TB) diskimage.Volume {
	t.Helper()
	when := time.Unix(1_700_000_000, 0)
	random := rand.NewChaCha8([32]byte{1})
	var files []diskimage.Entry
	for i := range 20 {
		data := make([]byte, i*30_001)
		_, _ = random.Read(data)
		// A hole of several sectors in the middle of a file is data as well.
		if i > 10 {
			clear(data[100_000:200_000])
		}
		files = append(files, diskimage.FileEntry(fmt.Sprintf("file-%02d", i), 0o644, data, when))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(when), files...)
	if err != nil {
		t.Fatal(err)
	}
	fs := diskimage.Filesystem{Type: "ext4", Features: ext.E2fsprogs144, UUID: uuid.Max, Seed: uuid.Max, Time: when}
	volume, err := ext.Formatter{}.Plan(size-luks.HeaderSize, fs, tree)
	if err != nil {
		t.Fatal(err)
	}
	return volume
}

// write writes a volume to a new file.
func write(t testing.TB, volume diskimage.Volume, length diskimage.Size) string {
	t.Helper()
	name := diskimagetest.SparseFile(t, int64(length))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := volume.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	return name
}

// encrypt returns the encrypted form of a volume, with keys[0] if there are no others.
func encrypt(t testing.TB, plain diskimage.Volume, others ...luks.Key) diskimage.Volume {
	t.Helper()
	container, err := luks.New(id, append(others, keys[0]))
	if err != nil {
		t.Fatal(err)
	}
	volume, err := container.Volume(size, plain)
	if err != nil {
		t.Fatal(err)
	}
	return volume
}

// decrypt reads the file system in a container with luksy.
func decrypt(t testing.TB, name string, key []byte) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, header, _, metadata, err := luksy.ReadHeaders(f, luksy.ReadHeaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	decryptNext, _, offset, length, err := header.Decrypt(string(key), f, *metadata)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := make([]byte, length)
	if _, err := f.ReadAt(encrypted, offset); err != nil {
		t.Fatal(err)
	}
	plain, err := decryptNext(encrypted)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestContentIsThatOfTheFileSystem(t *testing.T) {
	t.Parallel()
	plain := plan(t)
	want, err := os.ReadFile(write(t, plain, size-luks.HeaderSize))
	if err != nil {
		t.Fatal(err)
	}
	encrypted := encrypt(t, plain)
	name := write(t, encrypted, size)
	got := decrypt(t, name, keys[0].Secret)
	if len(got) != len(want) {
		t.Fatalf("got %d bytes, want %d", len(got), len(want))
	}
	for _, e := range plain.(diskimage.UsedSpace).Used() {
		if end := e.Offset + e.Length; !bytes.Equal(got[e.Offset:end], want[e.Offset:end]) {
			t.Errorf("%s differ", e)
		}
	}
	decrypted := filepath.Join(t.TempDir(), "decrypted")
	if err := os.WriteFile(decrypted, got, 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Fsck(t, decrypted)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range keys {
		if bytes.Contains(data, secret.Secret) {
			t.Errorf("%q is in the image", secret.Secret)
		}
	}
}

// TestFreeSpaceStaysUnwritten compares what is written with what the volume says of itself.
func TestFreeSpaceStaysUnwritten(t *testing.T) {
	t.Parallel()
	volume := encrypt(t, plan(t))
	data, err := os.ReadFile(write(t, volume, size))
	if err != nil {
		t.Fatal(err)
	}
	used := make([]bool, len(data)/luks.SectorSize)
	for _, e := range volume.(diskimage.UsedSpace).Used() {
		for i := e.Offset / luks.SectorSize; i < (e.Offset+e.Length)/luks.SectorSize; i++ {
			used[i] = true
		}
	}
	free := 0
	for i, isUsed := range used {
		zero := len(bytes.Trim(data[i*luks.SectorSize:(i+1)*luks.SectorSize], "\x00")) == 0
		// The metadata of the header ends with zeros.
		if zero == isUsed && i*luks.SectorSize >= int(luks.HeaderSize) {
			t.Fatalf("sector %d: zero is %v, used is %v", i, zero, isUsed)
		}
		if zero {
			free++
		}
	}
	if free < len(used)/2 {
		t.Errorf("only %d of %d sectors are free", free, len(used))
	}
}

func TestCryptsetupOpensIt(t *testing.T) {
	t.Parallel()
	name := write(t, encrypt(t, plan(t), keys[1:]...), size)
	opens := func(key []byte) bool {
		cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "cryptsetup"), "open", "--test-passphrase",
			"--key-file=-", name)
		cmd.Stdin = bytes.NewReader(key)
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%q: %v: %s", key, err, output)
		}
		return err == nil
	}
	for _, key := range keys {
		if !opens(key.Secret) {
			t.Errorf("%q does not open it", key.Secret)
		}
	}
	if opens([]byte("wrong")) {
		t.Error("a wrong passphrase opens it")
	}
	dump := diskimagetest.Run(t, "cryptsetup", "luksDump", "--debug", name)
	for _, want := range []string{
		"UUID:          \t" + id.String(), "offset: 16777216 [bytes]", "sector: 4096 [bytes]", "cipher: aes-xts-plain64",
		"Cipher key: 512 bits", "argon2id", "systemd-recovery", "Trying to read primary LUKS2 header at offset 0x0",
		"Trying to read secondary LUKS2 header at offset 0x4000",
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("%q is not in\n%s", want, dump)
		}
	}
	for _, complaint := range []string{"does not match", "Checksum mismatch", "invalid", "corrupt", "recover"} {
		if found := regexp.MustCompile(`(?im)^.*` + complaint + `.*$`).FindString(dump); found != "" &&
			!strings.Contains(found, "systemd-recovery") {
			t.Errorf("luksDump says %q", found)
		}
	}
	// The second copy of the metadata is as good as the first one.
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, luks.SectorSize), 0); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "cryptsetup", "isLuks", "--type", "luks2", name)
	if !opens(keys[0].Secret) {
		t.Error("the second copy of the metadata does not open it")
	}
}

func TestTwoContainersHaveNothingInCommon(t *testing.T) {
	t.Parallel()
	plain := plan(t)
	var images [2][]byte
	for i := range images {
		data, err := os.ReadFile(write(t, encrypt(t, plain), size))
		if err != nil {
			t.Fatal(err)
		}
		images[i] = data
	}
	for i := int(luks.HeaderSize); i < len(images[0]); i += luks.SectorSize {
		a, b := images[0][i:i+luks.SectorSize], images[1][i:i+luks.SectorSize]
		if bytes.Equal(a, b) && len(bytes.Trim(a, "\x00")) > 0 {
			t.Fatalf("the sector at offset %d is the same", i)
		}
	}
}

// pieces is a volume that writes texts at offsets, and does not know its free space.
type pieces map[int64]string

func (p pieces) Extents(string) ([]diskimage.Extent, error) { return nil, os.ErrNotExist }

func (p pieces) Write(_ context.Context, dst io.WriterAt) error {
	for _, offset := range []int64{1024, 1500, 8000, luks.SectorSize * 5, int64(size-luks.HeaderSize) - 3} {
		if text, there := p[offset]; there {
			if _, err := dst.WriteAt([]byte(text), offset); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestPartsOfSectorsAreWritten(t *testing.T) {
	t.Parallel()
	plain := pieces{
		1024: "one", 1500: "two", 8000: strings.Repeat("three", 1000), int64(size-luks.HeaderSize) - 3: "end",
	}
	want := make([]byte, size-luks.HeaderSize)
	for offset, text := range plain {
		copy(want[offset:], text)
	}
	if got := decrypt(t, write(t, encrypt(t, plain), size), keys[0].Secret); !bytes.Equal(got, want) {
		t.Error("the content differs")
	}
	for name, wrong := range map[string]pieces{
		"beyond the end":                {int64(size-luks.HeaderSize) - 3: "four"},
		"a part written after a sector": {8000: strings.Repeat("x", 5*luks.SectorSize), luks.SectorSize * 5: "y"},
	} {
		if err := encrypt(t, wrong).Write(t.Context(), discard{}); err == nil || !strings.HasPrefix(err.Error(), "BUG") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// discard ignores what is written.
type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

func TestMistakesAreErrors(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string][]luks.Key{
		"no keys": nil, "an empty key": {{}}, "too many keys": make([]luks.Key, 33),
	} {
		if _, err := luks.New(id, keys); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	container, err := luks.New(id, keys[:1])
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []diskimage.Size{luks.HeaderSize, size + 512} {
		if _, err := container.Volume(size, pieces{}); err == nil {
			t.Errorf("a partition of %s: no error", size)
		}
	}
}

func TestRecoveryKeyHasTheFormOfSystemd(t *testing.T) {
	t.Parallel()
	key := luks.NewRecoveryKey()
	form := regexp.MustCompile(`^([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}$`)
	if !form.MatchString(key) || key == luks.NewRecoveryKey() {
		t.Errorf("got %q", key)
	}
}

// large is a volume of 256 MiB that is written in pieces of 1 MiB.
type large struct{ pieces }

func (large) Write(_ context.Context, dst io.WriterAt) error {
	data := make([]byte, diskimage.MiB)
	for offset := range int64(256) {
		if _, err := dst.WriteAt(data, offset*int64(diskimage.MiB)); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkWrite measures encryption on all processors, and how much a second of one processor encrypts, as a part of
// what OpenSSL encrypts in it. Seconds of processors are nearly the same on a busy machine.
func BenchmarkWrite(b *testing.B) {
	container, err := luks.New(id, keys[:1])
	if err != nil {
		b.Fatal(err)
	}
	volume, err := container.Volume(luks.HeaderSize+256*diskimage.MiB, large{})
	if err != nil {
		b.Fatal(err)
	}
	openssl := opensslSpeed(b)
	b.SetBytes(int64(256 * diskimage.MiB))
	before := processorTime(b)
	for b.Loop() {
		if err := volume.Write(b.Context(), discard{}); err != nil {
			b.Fatal(err)
		}
	}
	ours := float64(b.N) * float64(256*diskimage.MiB) / (processorTime(b) - before).Seconds()
	b.ReportMetric(ours/1e6, "MB/processor-s")
	b.ReportMetric(ours/openssl, "of-OpenSSL")
}

// processorTime returns what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// opensslSpeed returns how many bytes OpenSSL encrypts in the same way in a second of one processor.
func opensslSpeed(b *testing.B) float64 {
	b.Helper()
	output := diskimagetest.Run(b, "openssl", "speed", "-mr", "-seconds", "1", "-bytes", strconv.Itoa(luks.SectorSize),
		"-evp", "aes-256-xts")
	speed := regexp.MustCompile(`(?i)\+F:\d+:aes-256-xts:([0-9.]+)`).FindStringSubmatch(output)
	if speed == nil {
		b.Fatalf("openssl speed prints\n%s", output)
	}
	rate, err := strconv.ParseFloat(speed[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return rate
}
