package f2fs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// memTree is a tree in memory.
type memTree []diskimage.Entry

func (t memTree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		for _, e := range t {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// content is a file whose bytes are computed.
type content struct {
	io.ReaderAt
}

func (content) Close() error { return nil }

func bytesContent(data []byte) func() (diskimage.Content, error) {
	return func() (diskimage.Content, error) { return content{bytes.NewReader(data)}, nil }
}

var testTime = time.Date(2024, 2, 29, 12, 34, 56, 789012345, time.UTC)

func entry(name string, mode uint32) diskimage.Entry {
	return diskimage.Entry{Name: name, Mode: mode, ModTime: testTime}
}

func dirAt(name string) diskimage.Entry { return entry(name, unix.S_IFDIR|0o755) }

func fileAt(name string, data []byte) diskimage.Entry {
	e := entry(name, unix.S_IFREG|0o644)
	e.Size = int64(len(data))
	e.Open = bytesContent(data)
	return e
}

func linkAt(name, target string) diskimage.Entry {
	e := entry(name, unix.S_IFLNK|0o777)
	e.Linkname = target
	return e
}

func deviceAt(name string, kind, major, minor uint32) diskimage.Entry {
	e := entry(name, kind|0o660)
	e.Major, e.Minor = major, minor
	return e
}

// hardLinkAt is another name of an entry.
func hardLinkAt(name string, to diskimage.Entry) diskimage.Entry {
	e := to
	e.Name, e.HardLink, e.Open = name, to.Name, nil
	return e
}

// pattern is n bytes without a zero block.
func pattern(seed uint64, n int) []byte {
	data := make([]byte, n+8)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(data[i:], r.Uint64()|1)
	}
	return data[:n]
}

// sparseAt is a file with data of the given length at the given places.
func sparseAt(name string, size int64, length int, places ...int64) diskimage.Entry {
	e := entry(name, unix.S_IFREG|0o600)
	e.Size = size
	e.Data = []diskimage.Extent{}
	parts := &sparseContent{size: size}
	for i, at := range places {
		e.Data = append(e.Data, diskimage.Extent{Offset: at, Length: int64(length)})
		parts.parts = append(parts.parts, part{at, pattern(uint64(i), length)})
	}
	e.Open = func() (diskimage.Content, error) { return parts, nil }
	return e
}

type part struct {
	offset int64
	data   []byte
}

type sparseContent struct {
	size  int64
	parts []part
}

func (s *sparseContent) Close() error { return nil }

func (s *sparseContent) ReadAt(p []byte, offset int64) (int, error) {
	n := int(min(int64(len(p)), s.size-offset))
	clear(p[:n])
	for _, part := range s.parts {
		if from := part.offset - offset; from >= 0 && from < int64(n) {
			copy(p[from:n], part.data)
		} else if from < 0 && -from < int64(len(part.data)) {
			copy(p[:n], part.data[-from:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

var testUUID = uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
var testSeed = uuid.MustParse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")

func filesystem() diskimage.Filesystem {
	return diskimage.Filesystem{Type: Type, Label: "rootfs ü 🐧", UUID: testUUID, Seed: testSeed, Time: testTime}
}

// write plans and writes a file system into a new file.
func write(t testing.TB, size diskimage.Size, tree diskimage.Tree) string {
	t.Helper()
	v, err := Formatter{}.Plan(size, filesystem(), tree)
	if err != nil {
		t.Fatalf("plan %s of %s: %v", Type, size, err)
	}
	return writeVolume(t, size, v)
}

func writeVolume(t testing.TB, size diskimage.Size, v diskimage.Volume) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	if err := v.Write(t.Context(), f); err != nil {
		t.Fatalf("write: %v", err)
	}
	return f.Name()
}

// smallTree has one of everything.
func smallTree() memTree {
	hello := fileAt("etc/hello", []byte("hello, world\n"))
	link := linkAt("etc/link", "hello")
	fifo := entry("etc/fifo", unix.S_IFIFO|0o600)
	ping := fileAt("etc/ping", pattern(1, 3*disk.BlockSize+5))
	ping.Xattrs = []diskimage.Xattr{{Name: "security.capability", Value: capability}}
	odd := fileAt("etc/odd", nil)
	odd.Mode, odd.UID, odd.GID = unix.S_IFREG|0o7755, 1<<32-2, 70000
	odd.ModTime = time.Date(1905, 1, 2, 3, 4, 5, 6, time.UTC)
	late := fileAt("etc/late", []byte{0})
	late.ModTime = time.Date(2600, 1, 2, 3, 4, 5, 999999999, time.UTC)
	return memTree{
		dirAt("."), dirAt("dev"),
		deviceAt("dev/null", unix.S_IFCHR, 1, 3), deviceAt("dev/large", unix.S_IFBLK, 300, 70000),
		dirAt("etc"), fifo, hardLinkAt("etc/fifo2", fifo), hello, hardLinkAt("etc/hello2", hello), late, link,
		hardLinkAt("etc/link2", link), linkAt("etc/long", strings.Repeat("x/", 2047)+"y"),
		odd, ping, entry("etc/socket", unix.S_IFSOCK|0o755),
		linkAt("etc/t3488", strings.Repeat("a", disk.InlineDataSize)), linkAt("etc/t3489", strings.Repeat("b", disk.InlineDataSize+1)),
		fileAt("etc/zeros", make([]byte, 3*disk.BlockSize)), fileAt("etc/\xff\xfe not UTF-8\n", []byte("x")),
		fileAt("etc/3488", pattern(2, disk.InlineDataSize)), fileAt("etc/3489", pattern(3, disk.InlineDataSize+1)),
		sparseAt("hole", 300000, 5000, 8192, 100001), sparseAt("small hole", 3000, 0),
	}
}

// capability is cap_net_raw+ep as getxattr(2) gives it: version 2, effective.
var capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// manyFiles adds a directory with empty files whose names are as long as asked for.
func manyFiles(dir string, n, nameLength int) memTree {
	t := memTree{dirAt(dir)}
	for i := range n {
		name := fmt.Sprintf("%s/%0*d", dir, nameLength, i)
		t = append(t, fileAt(name, nil))
	}
	return t
}
