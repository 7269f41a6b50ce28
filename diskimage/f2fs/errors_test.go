// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// brokenContent fails in one way or another.
type brokenContent struct {
	io.ReaderAt
	closeError error
}

func (b brokenContent) Close() error { return b.closeError }

type failingReader struct{}

func (failingReader) ReadAt([]byte, int64) (int, error) { return 0, errors.New("bad sector") }

func TestErrorsWhileReadingNameTheFile(t *testing.T) {
	t.Parallel()
	content := func(r io.ReaderAt, closing error) func() (diskimage.Content, error) {
		return func() (diskimage.Content, error) { return brokenContent{r, closing}, nil }
	}
	tests := []struct {
		size int64
		open func() (diskimage.Content, error)
		want string
	}{
		{10000, content(bytes.NewReader(make([]byte, 5000)), nil), `read "file": it ends at byte 5000 of 10000`},
		{1000, content(bytes.NewReader(make([]byte, 500)), nil), `read "file": it ends at byte 500 of 1000`},
		{1000, func() (diskimage.Content, error) { return nil, errors.New("gone") }, `open "file": gone`},
		{1000, content(failingReader{}, nil), `read "file" at byte 0: bad sector`},
		{1000, content(bytes.NewReader(make([]byte, 1000)), errors.New("stale handle")), `close "file": stale handle`},
	}
	for _, tt := range tests {
		e := fstest.Entry("file", unix.S_IFREG)
		e.Size, e.Open = tt.size, tt.open
		v, err := Formatter{}.Plan(64*diskimage.MiB, filesystem(), fstest.Tree{fstest.Dir("."), e})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Write(t.Context(), discard{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// brokenTree ends with an error.
type brokenTree struct{ fstest.Tree }

var errTree = errors.New("tree is broken")

func (b brokenTree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		for e := range b.Tree.Entries() {
			if !yield(e, nil) {
				return
			}
		}
		yield(diskimage.Entry{}, errTree)
	}
}

// collidingNames are names whose hashes end with so many zero bits.
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

func TestWhatTheFormatCannotHoldIsAnError(t *testing.T) {
	t.Parallel()
	with := func(e diskimage.Entry, change func(*diskimage.Entry)) fstest.Tree {
		change(&e)
		return fstest.Tree{fstest.Dir("."), e}
	}
	xattr := func(name string, length int) fstest.Tree {
		return with(fstest.File("a", nil), func(e *diskimage.Entry) {
			e.Xattrs = []diskimage.Xattr{{Name: name, Value: make([]byte, length)}}
		})
	}
	tests := []struct {
		name string
		tree diskimage.Tree
		want string
	}{
		{"no root", fstest.Tree{}, "it has no root"},
		{"root is no directory", fstest.Tree{fstest.File(".", nil)}, "instead of the root"},
		{"root is not first", fstest.Tree{fstest.Dir("a"), fstest.Dir(".")}, `"a" comes first`},
		{"broken tree", brokenTree{fstest.Tree{fstest.Dir(".")}}, errTree.Error()},
		{"twice", fstest.Tree{fstest.Dir("."), fstest.Dir("a"), fstest.Dir("a")}, `"a" is there twice`},
		{"without its directory", fstest.Tree{fstest.Dir("."), fstest.Dir("a/b")}, `"a/b" comes before`},
		{"below a file", fstest.Tree{fstest.Dir("."), fstest.File("a", nil), fstest.File("a/b", nil)},
			`"a/b" comes before`},
		{"parent as a name", fstest.Tree{fstest.Dir("."), fstest.Dir("..")}, `".." is not a name`},
		{"empty name", fstest.Tree{fstest.Dir("."), fstest.Dir("")}, `"" is not a name`},
		{"long name", fstest.Tree{fstest.Dir("."), fstest.Dir(strings.Repeat("x", 256))}, "256 bytes"},
		{"NUL in a name", fstest.Tree{fstest.Dir("."), fstest.Dir("a\x00b")}, "is not a name"},
		{"link to nothing", fstest.Tree{fstest.Dir("."), fstest.HardLink("b", fstest.File("a", nil))},
			`no earlier file`},
		{"link to a directory", fstest.Tree{fstest.Dir("."), fstest.Dir("a"), fstest.HardLink("b", fstest.Dir("a"))},
			`no earlier file`},
		{"empty symlink", fstest.Tree{fstest.Dir("."), fstest.Link("a", "")}, `"a": symbolic link`},
		{"long symlink", fstest.Tree{fstest.Dir("."), fstest.Link("a", strings.Repeat("x", 4096))}, `4096 bytes`},
		{"large device", fstest.Tree{fstest.Dir("."), fstest.Device("a", unix.S_IFCHR, 4096, 0)}, `device 4096:0`},
		{"no type", fstest.Tree{fstest.Dir("."), fstest.Entry("a", 0o644)}, "file type"},
		{"negative size", with(fstest.File("a", nil), func(e *diskimage.Entry) { e.Size = -1 }), "size of -1"},
		{"huge file", with(fstest.File("a", nil), func(e *diskimage.Entry) { e.Size = maxBlocks*disk.BlockSize + 1 }),
			"size of"},
		{"no content", with(fstest.File("a", []byte{1}), func(e *diskimage.Entry) { e.Open = nil }),
			"without a content"},
		{"data behind the end", with(fstest.File("a", []byte{1}), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 0, Length: 2}}
		}), "outside"},
		{"data out of order", with(fstest.File("a", make([]byte, 9)), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 5, Length: 1}, {Offset: 0, Length: 1}}
		}), "out of order"},
		{"unknown attribute", xattr("btrfs.compression", 3), `"a": extended attribute "btrfs.compression"`},
		{"attribute without a name", xattr("user.", 3), `"user."`},
		{"large attribute", xattr("user.a", disk.XattrRoom),
			`"a": extended attributes need 36 bytes more than the 4244`},
		{"broken ACL", xattr("system.posix_acl_access", 5), "not an access control list"},
		{"attribute twice", with(fstest.File("a", nil), func(e *diskimage.Entry) {
			e.Xattrs = []diskimage.Xattr{{Name: "user.a"}, {Name: "user.a"}}
		}), "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Formatter{}.Plan(64*diskimage.MiB, filesystem(), tt.tree)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
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

// discard forgets what is written.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
