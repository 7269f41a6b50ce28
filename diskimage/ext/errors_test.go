// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// invalidTrees returns what ext4 cannot hold, besides what no file system can.
func invalidTrees() []fstest.Invalid {
	manyLinks := fstest.Tree{fstest.Dir("."), fstest.File("a", nil)}
	for i := range maxLinks {
		manyLinks = append(manyLinks, fstest.HardLink(fmt.Sprint(i), manyLinks[1]))
	}
	return []fstest.Invalid{
		{Name: "too many links", Tree: manyLinks, Want: "65001 links"},
		{Name: "lost+found is a file", Tree: fstest.Tree{fstest.Dir("."), fstest.File("lost+found", nil)},
			Want: "not a directory"},
		{Name: "lost+found twice", Tree: fstest.Tree{fstest.Dir("."), fstest.Dir("lost+found"), fstest.Dir("lost+found")},
			Want: "twice"},
		{Name: "huge file", Tree: fstest.With(fstest.File("a", nil), func(e *diskimage.Entry) { e.Size = 1 << 45 }),
			Want: "size of"},
		{Name: "large attribute", Tree: fstest.WithXattr("user.a", 5000), Want: "more than the one block"},
	}
}

func TestParametersAreChecked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*diskimage.Filesystem)
		size   diskimage.Size
		want   string
	}{
		{"type", func(fs *diskimage.Filesystem) { fs.Type = "xfs" }, diskimage.GiB, `"xfs"`},
		{"label", func(fs *diskimage.Filesystem) { fs.Label = "seventeen letters" }, diskimage.GiB, "16 bytes"},
		{"size", func(*diskimage.Filesystem) {}, 16 * diskimage.TiB, "are not supported"},
	}
	for _, tt := range tests {
		fs := filesystem("ext4", "")
		tt.change(&fs)
		if _, err := (Formatter{}).Plan(tt.size, fs, smallTree()); err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}
