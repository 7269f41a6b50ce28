// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Flips damages an image.
type Flips struct {
	Open  Open
	Image Memory
	// Skip are the ranges that have no checksum: the contents of files.
	Skip []diskimage.Extent
	// Only are the ranges that are damaged; nil means all of the image.
	Only []diskimage.Extent
}

// TestFlips changes a few bits or bytes of an image, flipRounds times, with a fixed seed. The tree
// that is read must be that of the undamaged image, or there is an error: never another tree.
func TestFlips(t *testing.T, f Flips) {
	t.Helper()
	tree, err := f.Open(bytes.NewReader(f.Image))
	if err != nil {
		t.Fatal(err)
	}
	want := Flatten(t, tree)
	offsets := f.offsets()
	random := rand.New(rand.NewPCG(15, 5))
	bad := bytes.Clone(f.Image)
	errs := 0
	for range flipRounds {
		var changed []int
		for range 1 + random.IntN(3) {
			at := offsets[random.IntN(len(offsets))]
			if random.IntN(2) == 0 {
				bad[at] ^= 1 << random.IntN(8)
			} else {
				bad[at] = byte(random.Uint32())
			}
			changed = append(changed, at)
		}
		got, err := flattenDamaged(f.Open, bad)
		switch {
		case err != nil:
			errs++
		case !reflect.DeepEqual(got, want):
			t.Errorf("the bytes at %#x were changed: another tree, and no error", changed)
		}
		for _, at := range changed {
			bad[at] = f.Image[at]
		}
	}
	if errs == 0 {
		t.Errorf("%d damaged images, and no error", flipRounds)
	}
}

// offsets returns the bytes to change: those in use, except in Skip.
func (f Flips) offsets() []int {
	within := func(ranges []diskimage.Extent, at int) bool {
		return slices.ContainsFunc(ranges, func(e diskimage.Extent) bool {
			return e.Offset <= int64(at) && int64(at) < e.Offset+e.Length
		})
	}
	return slices.DeleteFunc(f.Image.used(), func(at int) bool {
		return within(f.Skip, at) || f.Only != nil && !within(f.Only, at)
	})
}

// ContentError returns the first error of reading all of an image.
func (o Open) ContentError(image []byte) error {
	_, err := flattenDamaged(o, image)
	return err
}

// flattenDamaged is Flatten of an image that may be damaged.
func flattenDamaged(open Open, image []byte) (map[string]Flat, error) {
	tree, err := open(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	all := map[string]Flat{}
	for e, err := range tree.Entries() {
		if err != nil {
			return nil, err
		}
		f := newFlat(e)
		if e.Open != nil {
			if f.Content, err = readDamaged(e); err != nil {
				return nil, err
			}
		}
		all[e.Name] = f
	}
	return all, nil
}

// readDamaged returns the content of a file, up to a limit.
func readDamaged(e diskimage.Entry) (string, error) {
	const most = 1 << 22
	c, err := e.Open()
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.NewSectionReader(c, 0, min(e.Size, most)))
	if err != nil {
		return "", err
	}
	return string(data), c.Close()
}
