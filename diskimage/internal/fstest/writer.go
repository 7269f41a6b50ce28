// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Writer is a file system for TestWriter.
type Writer struct {
	Name       string
	Formatter  diskimage.Formatter
	Filesystem diskimage.Filesystem
	// Tree has everything that the file system can hold, and Size is sufficient for it.
	Tree diskimage.Tree
	Size diskimage.Size
	// NoInodes is set if the format has neither holes, hard links nor the attributes of inodes.
	NoInodes bool
	// Invalid are trees that this format cannot hold, besides those that no Unix file system can.
	Invalid []Invalid
}

func (w Writer) plan(t *testing.T, tree diskimage.Tree) diskimage.Volume {
	t.Helper()
	v, err := w.Formatter.Plan(w.Size, w.Filesystem, tree)
	if err != nil {
		t.Fatalf("plan %s of %s: %v", w.Filesystem.Type, w.Size, err)
	}
	return v
}

// TestWriter checks the promises of every Formatter. It must not run in parallel because it changes
// GOMAXPROCS.
func TestWriter(t *testing.T, writers ...Writer) {
	for _, w := range writers {
		t.Run(w.Name, func(t *testing.T) {
			t.Run("same input, same bytes", w.sameBytes)
			t.Run("extents locate the content", w.extents)
			t.Run("write errors are reported", w.writeErrors)
			t.Run("errors in content name the file", w.contentErrors)
			t.Run("trees that the format cannot hold are errors", w.invalidTrees)
		})
	}
}

// sameBytes writes a plan twice, and new plans with more goroutines.
func (w Writer) sameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	sums := map[[sha256.Size]byte]bool{}
	for i, workers := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(workers)
		v := w.plan(t, w.Tree)
		for range max(1, 2-i) {
			image, err := os.Open(WriteVolume(t, w.Size, v))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.New()
			_, err = io.Copy(sum, image)
			if err := errors.Join(err, image.Close()); err != nil {
				t.Fatal(err)
			}
			sums[[sha256.Size]byte(sum.Sum(nil))] = true
		}
	}
	if len(sums) != 1 {
		t.Errorf("%d different images with 1 worker, again, and with 2 and 7", len(sums))
	}
}

// extents reads files at the extents of the plan.
func (w Writer) extents(t *testing.T) {
	const block = 4 << 10
	tree := Tree{Dir("."), Dir("boot"), File("boot/vmlinuz", Pattern(7, 1<<20+17)), File("empty", nil),
		File("small", Pattern(1, 100))}
	lengths := map[string]int64{"boot/vmlinuz": 1<<20 + 17, "empty": 0, "small": 100}
	if !w.NoInodes {
		dense := Sparse("dense", 20*block+1, block, 4*block)
		dense.Dense = true
		tree = append(tree, Sparse("sparse", 20*block, block, 0, 4*block), Sparse("hole", 1e6, 0), dense,
			HardLink("second", dense))
		lengths["sparse"], lengths["hole"], lengths["dense"], lengths["second"] = 2*block, 0, dense.Size, dense.Size
	}
	v := w.plan(t, tree)
	image, err := os.ReadFile(WriteVolume(t, w.Size, v))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range tree {
		want, regular := lengths[e.Name]
		extents, err := v.Extents(e.Name)
		if !regular {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Extents(%q): got %v, want fs.ErrNotExist", e.Name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, x := range extents {
			got = append(got, image[x.Offset:x.Offset+x.Length]...)
		}
		if int64(len(got)) != want {
			t.Errorf("Extents(%q): %d bytes, want %d", e.Name, len(got), want)
		}
		if e.Data == nil && e.Size > 0 && e.Open != nil && !bytes.Equal(got, ReadContent(t, e)) {
			t.Errorf("Extents(%q): content differs", e.Name)
		}
	}
	if _, err := v.Extents("no such file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Extents of nothing: got %v, want fs.ErrNotExist", err)
	}
}

// fullDisk fails beyond an offset and records the end of the last write.
type fullDisk struct{ limit, end int64 }

func (f *fullDisk) WriteAt(p []byte, offset int64) (int, error) {
	f.end = max(f.end, offset+int64(len(p)))
	if f.end > f.limit {
		return 0, unix.ENOSPC
	}
	return len(p), nil
}

func (w Writer) writeErrors(t *testing.T) {
	v := w.plan(t, w.Tree)
	all := &fullDisk{limit: int64(w.Size)}
	if err := v.Write(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int64{0, 1024, all.end / 100, all.end / 10, all.end / 2, all.end - 1} {
		if err := v.Write(t.Context(), &fullDisk{limit: limit}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("write error at %d of %d: got %v", limit, all.end, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tree := range []diskimage.Tree{w.Tree, Tree{Dir(".")}} {
		if err := w.plan(t, tree).Write(ctx, discard{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
}

// ReadContent returns the content of an entry.
func ReadContent(t *testing.T, e diskimage.Entry) []byte {
	t.Helper()
	want := make([]byte, e.Size)
	if e.Size > 0 {
		c, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadFull(io.NewSectionReader(c, 0, e.Size), want)
		if err := errors.Join(err, c.Close()); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
	}
	return want
}
