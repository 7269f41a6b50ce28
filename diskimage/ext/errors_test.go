// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
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

func TestErrorsWhileCopyingNameTheFile(t *testing.T) {
	t.Parallel()
	short := func() (diskimage.Content, error) {
		return brokenContent{bytes.NewReader(make([]byte, 5000)), nil}, nil
	}
	tests := []struct {
		name string
		open func() (diskimage.Content, error)
		want string
	}{
		{"short", short, `read "file": it ends at byte 5000 of 10000`},
		{"open", func() (diskimage.Content, error) { return nil, errors.New("gone") }, `open "file": gone`},
		{"read", func() (diskimage.Content, error) {
			return brokenContent{failingReader{}, nil}, nil
		}, `read "file" at byte 0: bad sector`},
		{"close", func() (diskimage.Content, error) {
			return brokenContent{bytes.NewReader(make([]byte, 10000)), errors.New("stale handle")}, nil
		}, `close "file": stale handle`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := fstest.Entry("file", unix.S_IFREG)
			e.Size, e.Open = 10000, tt.open
			v, err := Formatter{}.Plan(8*diskimage.MiB, filesystem("ext4", ""), fstest.Tree{fstest.Dir("."), e})
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Write(t.Context(), discard{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// discard forgets what is written.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestWriteStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	for _, tree := range []fstest.Tree{adversarialTree(), {fstest.Dir(".")}} {
		v, err := Formatter{}.Plan(300*diskimage.MiB, filesystem("ext4", ""), tree)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := v.Write(ctx, discard{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
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
	manyLinks := fstest.Tree{fstest.Dir("."), fstest.File("a", nil)}
	for i := range maxLinks {
		manyLinks = append(manyLinks, fstest.HardLink(fmt.Sprint(i), manyLinks[1]))
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
		{"too many links", manyLinks, "65001 links"},
		{"lost+found is a file", fstest.Tree{fstest.Dir("."), fstest.File("lost+found", nil)}, "not a directory"},
		{"lost+found twice", fstest.Tree{fstest.Dir("."), fstest.Dir("lost+found"), fstest.Dir("lost+found")}, "twice"},
		{"empty symlink", fstest.Tree{fstest.Dir("."), fstest.Link("a", "")}, `"a": symbolic link`},
		{"long symlink", fstest.Tree{fstest.Dir("."), fstest.Link("a", strings.Repeat("x", 4096))}, `4096 bytes`},
		{"large device", fstest.Tree{fstest.Dir("."), fstest.Device("a", unix.S_IFCHR, 4096, 0)}, `device 4096:0`},
		{"no type", fstest.Tree{fstest.Dir("."), fstest.Entry("a", 0o644)}, "file type"},
		{"negative size", with(fstest.File("a", nil), func(e *diskimage.Entry) { e.Size = -1 }), "size of -1"},
		{"huge file", with(fstest.File("a", nil), func(e *diskimage.Entry) { e.Size = 1 << 45 }), "size of"},
		{"no content", with(fstest.File("a", []byte{1}), func(e *diskimage.Entry) { e.Open = nil }),
			"without a content"},
		{"data behind the end", with(fstest.File("a", []byte{1}), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 0, Length: 2}}
		}), "outside"},
		{"data out of order", with(fstest.File("a", make([]byte, 9)), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 5, Length: 1}, {Offset: 0, Length: 1}}
		}), "out of order"},
		{"unknown attribute", xattr("btrfs.compression", 3), `"btrfs.compression"`},
		{"attribute without a name", xattr("user.", 3), `"user."`},
		{"large attribute", xattr("user.a", 5000), "more than the one block"},
		{"broken ACL", xattr("system.posix_acl_access", 5), "not an access control list"},
		{"attribute twice", with(fstest.File("a", nil), func(e *diskimage.Entry) {
			e.Xattrs = []diskimage.Xattr{{Name: "user.a"}, {Name: "user.a"}}
		}), "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Formatter{}.Plan(64*diskimage.MiB, filesystem("ext4", "1.44"), tt.tree)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
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
