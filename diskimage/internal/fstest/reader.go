// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Reader is a file system reader for TestReader, with a writer of the same format.
type Reader struct {
	Writer
	Open Open
	// ErrNone is the error of Open for an image without such a file system.
	ErrNone error
	// Known clears the fields of an entry that the file system cannot record.
	Known func(e *diskimage.Entry)
	// Added are names that the writer adds to the tree.
	Added []string
}

// TestReader checks the promises of every reader.
func TestReader(t *testing.T, readers ...Reader) {
	for _, r := range readers {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			t.Run("what was written is read", r.readsBack)
			t.Run("damage is an error and nothing worse", r.damage)
		})
	}
}

// Flat is an entry in a form that can be compared, with its content instead of Open.
type Flat struct {
	diskimage.Entry
	Content string
}

// Flatten returns the entries of a tree by their names.
func Flatten(t *testing.T, tree diskimage.Tree) map[string]Flat {
	t.Helper()
	all := map[string]Flat{}
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		f := newFlat(e)
		if e.Open != nil {
			f.Content = string(ReadContent(t, e))
		}
		all[e.Name] = f
	}
	return all
}

// newFlat returns an entry without its content.
func newFlat(e diskimage.Entry) Flat {
	f := Flat{Entry: e}
	f.Open, f.Data, f.Dense, f.ModTime = nil, nil, false, f.ModTime.UTC()
	if len(f.Xattrs) == 0 {
		f.Xattrs = nil
	}
	return f
}

func (r Reader) readsBack(t *testing.T) {
	image, err := os.Open(WriteVolume(t, r.Size, r.plan(t, r.Tree)))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	tree, err := r.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	CompareTrees(t, tree, r.Tree, r.Known, r.Added...)
}

// Memory is an image in memory.
type Memory []byte

// WriteAt implements io.WriterAt.
func (m Memory) WriteAt(p []byte, offset int64) (int, error) { return copy(m[offset:], p), nil }

// damage changes a few bytes of an image, many times, and reads the whole file system.
func (r Reader) damage(t *testing.T) {
	tree := Tree{Dir("."), Dir("etc"), Dir("etc/deep"), File("etc/deep/a rather long name.text", Pattern(1, 20_000)),
		File("passwd", Pattern(2, 9000))}
	r.Size = min(r.Size, 64*diskimage.MiB) // it is in memory
	good := Memory(make([]byte, r.Size))
	if err := r.plan(t, tree).Write(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	r.Open.TestDamage(t, good, 500)
	for _, none := range [][]byte{make([]byte, 4096), nil} {
		if _, err := r.Open(bytes.NewReader(none)); !errors.Is(err, r.ErrNone) {
			t.Errorf("%d zeros: got %v, want %v", len(none), err, r.ErrNone)
		}
	}
}
