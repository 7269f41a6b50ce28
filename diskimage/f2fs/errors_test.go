// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// invalidTrees returns what f2fs cannot hold, besides what no file system can.
func invalidTrees() []fstest.Invalid {
	return []fstest.Invalid{
		{Name: "huge file", Tree: fstest.With(fstest.File("a", nil), func(e *diskimage.Entry) {
			e.Size = maxBlocks*disk.BlockSize + 1
		}), Want: "size of"},
		{Name: "large attribute", Tree: fstest.WithXattr("user.a", disk.XattrRoom),
			Want: `"a": extended attributes need 36 bytes more than the maximum of 4244`},
	}
}

// collidingNames returns n files whose hashes end with twelve zero bits.
func collidingNames(n int) fstest.Tree {
	tree := fstest.Tree{fstest.Dir(".")}
	for i := uint32(0); len(tree) <= n; i++ {
		name := strings.Repeat("x", 240) + string([]byte{'a' + byte(i&15), 'a' + byte(i>>4&15), 'a' + byte(i>>8&15),
			'a' + byte(i>>12&15), 'a' + byte(i>>16&15), 'a' + byte(i>>20&15)})
		if dirHash(name)&0xFFF == 0 {
			tree = append(tree, fstest.File(name, nil))
		}
	}
	return tree
}

func TestNamesWithTheSameHashFillSeveralTables(t *testing.T) {
	t.Parallel()
	tree := collidingNames(100)
	image := write(t, 64*diskimage.MiB, tree)
	diskimagetest.Fsck(t, image)
	readBack(t, image, tree)
}

func TestParametersAreChecked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		change func(*diskimage.Filesystem)
		size   diskimage.Size
		want   string
	}{
		{func(fs *diskimage.Filesystem) { fs.Type = "ext4" }, diskimage.GiB, `"ext4"`},
		{func(fs *diskimage.Filesystem) { fs.Label = strings.Repeat("🐧", 257) }, diskimage.GiB, "512 units"},
		{func(fs *diskimage.Filesystem) { fs.Label = "\xff" }, diskimage.GiB, "512 units"},
		{func(*diskimage.Filesystem) {}, 17 * diskimage.TiB, "are not supported"},
	}
	for _, tt := range tests {
		fs := filesystem()
		tt.change(&fs)
		if _, err := (Formatter{}).Plan(tt.size, fs, smallTree()); err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}
