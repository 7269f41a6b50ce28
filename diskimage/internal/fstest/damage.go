// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"io"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// NewImage returns a small file system in memory with a root from 1970 and entries, and where the
// contents of its files are.
func NewImage(t testing.TB, f diskimage.Formatter, fs diskimage.Filesystem, size diskimage.Size,
	entries ...diskimage.Entry) (image Memory, data []diskimage.Extent) {
	t.Helper()
	tree, err := diskimage.Overlay(diskimage.EmptyTree(Epoch), entries...)
	if err != nil {
		t.Fatal(err)
	}
	volume, err := f.Plan(size, fs, tree)
	if err != nil {
		t.Fatal(err)
	}
	image = make(Memory, size)
	if err := volume.Write(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsRegular() {
			continue
		}
		extents, err := volume.Extents(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, extents...)
	}
	return image, data
}

// Open opens the file system in an image.
type Open func(image io.ReaderAt) (diskimage.Tree, error)

// ReadError returns the first error of opening an image and listing its entries.
func (o Open) ReadError(image []byte) error {
	tree, err := o(bytes.NewReader(image))
	if err != nil {
		return err
	}
	for _, err := range tree.Entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

// used returns the offsets of the bytes of an image that are not zero.
func (m Memory) used() []int {
	var offsets []int
	for i, b := range m {
		if b != 0 {
			offsets = append(offsets, i)
		}
	}
	return offsets
}

// Fuzz reads file systems in which some bytes were changed. Reading must end, with or without an error.
// The bytes from header to end describe the file system, and are changed more often. The fuzz arguments
// are the number of an image, and four bytes for each change: the offset and the value.
func (o Open) Fuzz(f *testing.F, header, end int, images ...Memory) {
	used := make([][]int, len(images))
	for i, image := range images {
		used[i] = image.used()
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		n := int(which) % len(images)
		bad := bytes.Clone(images[n])
		for ; len(data) >= 4 && len(data) <= 4*64; data = data[4:] {
			offset := int(data[0])<<16 | int(data[1])<<8 | int(data[2])
			if data[0] < 0x80 {
				offset = used[n][offset%len(used[n])]
			} else {
				offset = header + offset%(end-header)
			}
			bad[offset] = data[3]
		}
		if tree, err := o(bytes.NewReader(bad)); err == nil {
			readSome(t, tree)
		}
	})
}

// readSome reads a damaged tree, up to a limit.
func readSome(t *testing.T, tree diskimage.Tree) {
	const mostEntries, mostBytes = 2000, 1 << 22
	n := 0
	for e, err := range tree.Entries() {
		if n++; err != nil || n > mostEntries {
			return
		}
		if e.Open == nil {
			continue
		}
		c, err := e.Open()
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, io.NewSectionReader(c, 0, min(e.Size, mostBytes)))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
