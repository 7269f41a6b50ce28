// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"errors"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// FuzzTree builds trees from random bytes. fsck.f2fs must find no error, and the reader must read
// back what was written.
func FuzzTree(f *testing.F) {
	f.Add([]byte{})
	for i := range byte(12) {
		f.Add(fstest.Pattern(uint64(i), 200*int(i)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := fstest.Maker{Edges: edges, MaxSize: 1 << 34, TimeBits: 48}.Tree(data)
		const size = 96 * diskimage.MiB
		v, err := Formatter{}.Plan(size, filesystem(), tree)
		var noSpace *diskimage.NoSpaceError
		if errors.As(err, &noSpace) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		image := fstest.WriteVolume(t, size, v)
		diskimagetest.Fsck(t, image)
		readBack(t, image, tree)
	})
}

// edges are the lengths at which the format on disk changes.
var edges = []int{
	0, 1, 4, 100, 171, 172, 1000, disk.InlineDataSize - 1, disk.InlineDataSize, disk.InlineDataSize + 1,
	disk.BlockSize - 1,
	disk.BlockSize, disk.BlockSize + 1, firstDirect * disk.BlockSize, firstDirect*disk.BlockSize + 1,
	firstIndirect * disk.BlockSize, firstIndirect*disk.BlockSize + 1, firstDouble * disk.BlockSize,
	firstDouble*disk.BlockSize + 1,
}
