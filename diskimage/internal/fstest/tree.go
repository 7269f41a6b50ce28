// SPDX-License-Identifier: Apache-2.0

// Package fstest is shared by the tests of file system writers and readers: trees in memory with
// everything that a Debian tree may contain, and one behaviour suite each for writers (TestWriter)
// and readers (TestReader).
package fstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Tree is a tree in memory.
type Tree []diskimage.Entry

// Entries implements diskimage.Tree.
func (t Tree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		for _, e := range t {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// content is a file that needs no Close.
type content struct{ io.ReaderAt }

func (content) Close() error { return nil }

// Content returns a function for diskimage.Entry.Open.
func Content(r io.ReaderAt) func() (diskimage.Content, error) {
	return func() (diskimage.Content, error) { return content{r}, nil }
}

// Time is the default modification time.
var Time = time.Date(2024, 2, 29, 12, 34, 56, 789012345, time.UTC)

// Epoch is the start of 1970.
var Epoch = time.Unix(0, 0)

// Entry returns an entry with type and permissions in mode.
func Entry(name string, mode uint32) diskimage.Entry {
	return diskimage.Entry{Name: name, Mode: mode, ModTime: Time}
}

// Dir returns a directory.
func Dir(name string) diskimage.Entry { return Entry(name, unix.S_IFDIR|0o755) }

// File returns a regular file.
func File(name string, data []byte) diskimage.Entry {
	e := Entry(name, unix.S_IFREG|0o644)
	e.Size = int64(len(data))
	e.Open = Content(bytes.NewReader(data))
	return e
}

// Link returns a symbolic link.
func Link(name, target string) diskimage.Entry {
	e := Entry(name, unix.S_IFLNK|0o777)
	e.Linkname = target
	return e
}

// Device returns a character or block device; kind is S_IFCHR or S_IFBLK.
func Device(name string, kind, major, minor uint32) diskimage.Entry {
	e := Entry(name, kind|0o660)
	e.Major, e.Minor = major, minor
	return e
}

// HardLink returns another name of an entry.
func HardLink(name string, to diskimage.Entry) diskimage.Entry {
	e := to
	e.Name, e.HardLink, e.Open = name, to.Name, nil
	return e
}

// Pattern returns n bytes without a zero block.
func Pattern(seed uint64, n int) []byte {
	data := make([]byte, n+8)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(data[i:], r.Uint64()|1)
	}
	return data[:n]
}

// Sparse returns a file with data of the given length at the given offsets.
func Sparse(name string, size int64, length int, offsets ...int64) diskimage.Entry {
	e := Entry(name, unix.S_IFREG|0o600)
	e.Size = size
	e.Data = []diskimage.Extent{}
	parts := &sparseContent{size: size}
	for i, at := range offsets {
		e.Data = append(e.Data, diskimage.Extent{Offset: at, Length: int64(length)})
		parts.parts = append(parts.parts, part{at, Pattern(uint64(i), length)})
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

// WriteVolume writes a file system into a new file of the given size and returns its name.
func WriteVolume(t testing.TB, size diskimage.Size, v diskimage.Volume) string {
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

// Capability is cap_net_raw+ep as returned by getxattr(2): version 2, effective.
var Capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// ManyFiles returns a directory with n empty files whose names have nameLength bytes.
func ManyFiles(dir string, n, nameLength int) Tree {
	t := Tree{Dir(dir)}
	for i := range n {
		name := fmt.Sprintf("%s/%0*d", dir, nameLength, i)
		t = append(t, File(name, nil))
	}
	return t
}
