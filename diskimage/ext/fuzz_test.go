// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"errors"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// FuzzTree builds trees from random bytes. e2fsck must find no error, and debugfs must read back
// what was written.
func FuzzTree(f *testing.F) {
	f.Add(byte(0), []byte{})
	for i := range byte(12) {
		f.Add(i, fstest.Pattern(uint64(i), 200*int(i)))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		k := kinds[int(which)%len(kinds)]
		tree := fstest.Maker{Edges: edges, MaxSize: 1 << 30, TimeBits: 27}.Tree(data)
		const size = 24 * diskimage.MiB
		v, err := Formatter{}.Plan(size, filesystem(k.fsType, k.generation), tree)
		var noSpace *diskimage.NoSpaceError
		if errors.As(err, &noSpace) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		image := fstest.WriteVolume(t, size, v)
		fsckClean(t, image)
		readBack(t, image, tree)
	})
}

// edges are the lengths at which the format on disk changes.
var edges = []int{
	0, 1, 4, 58, 59, 60, 61, 100, 255, 1000, disk.BlockSize - 1, disk.BlockSize, disk.BlockSize + 1,
	12 * disk.BlockSize, 12*disk.BlockSize + 1, 1036 * disk.BlockSize, 1036*disk.BlockSize + 1,
}
