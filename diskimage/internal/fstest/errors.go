// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Invalid is a tree that a file system cannot hold, and a part of the error.
type Invalid struct {
	Name string
	Tree diskimage.Tree
	Want string
}

// With returns a tree of the root and an entry that is changed first.
func With(e diskimage.Entry, change func(*diskimage.Entry)) Tree {
	change(&e)
	return Tree{Dir("."), e}
}

// WithXattr returns a tree of the root and a file, "a", with one extended attribute of length bytes.
func WithXattr(name string, length int) Tree {
	return With(File("a", nil), func(e *diskimage.Entry) {
		e.Xattrs = []diskimage.Xattr{{Name: name, Value: make([]byte, length)}}
	})
}

// errTree is the error of a brokenTree.
var errTree = errors.New("tree is broken")

// brokenTree ends with an error.
type brokenTree struct{ Tree }

// Entries implements diskimage.Tree.
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

// invalid returns the trees that no Unix file system can hold.
func invalid() []Invalid {
	return []Invalid{
		{"no root", Tree{}, "it has no root"},
		{"root is no directory", Tree{File(".", nil)}, "want the root"},
		{"root is not first", Tree{Dir("a"), Dir(".")}, `"a" comes first`},
		{"broken tree", brokenTree{Tree{Dir(".")}}, errTree.Error()},
		{"twice", Tree{Dir("."), Dir("a"), Dir("a")}, `"a" appears twice`},
		{"without its directory", Tree{Dir("."), Dir("a/b")}, `"a/b" comes before`},
		{"below a file", Tree{Dir("."), File("a", nil), File("a/b", nil)}, `"a/b" comes before`},
		{"parent as a name", Tree{Dir("."), Dir("..")}, `".." is not a valid name`},
		{"empty name", Tree{Dir("."), Dir("")}, `"" is not a valid name`},
		{"long name", Tree{Dir("."), Dir(strings.Repeat("x", 256))}, "256 bytes"},
		{"NUL in a name", Tree{Dir("."), Dir("a\x00b")}, "is not a valid name"},
		{"link to nothing", Tree{Dir("."), HardLink("b", File("a", nil))}, "not an earlier file"},
		{"link to a directory", Tree{Dir("."), Dir("a"), HardLink("b", Dir("a"))}, "not an earlier file"},
		{"empty symlink", Tree{Dir("."), Link("a", "")}, `"a": symbolic link`},
		{"long symlink", Tree{Dir("."), Link("a", strings.Repeat("x", 4096))}, "4096 bytes"},
		{"large device", Tree{Dir("."), Device("a", unix.S_IFCHR, 4096, 0)}, "device 4096:0"},
		{"no type", Tree{Dir("."), Entry("a", 0o644)}, "file type"},
		{"negative size", With(File("a", nil), func(e *diskimage.Entry) { e.Size = -1 }), "size of -1"},
		{"no content", With(File("a", []byte{1}), func(e *diskimage.Entry) { e.Open = nil }), "without content"},
		{"data after the end", With(File("a", []byte{1}), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 0, Length: 2}}
		}), "outside"},
		{"data out of order", With(File("a", make([]byte, 9)), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 5, Length: 1}, {Offset: 0, Length: 1}}
		}), "out of order"},
		{"unknown attribute", WithXattr("btrfs.compression", 3), `"a": extended attribute "btrfs.compression"`},
		{"attribute without a name", WithXattr("user.", 3), `"user."`},
		{"broken ACL", WithXattr("system.posix_acl_access", 5), "not an access control list"},
		{"attribute twice", With(File("a", nil), func(e *diskimage.Entry) {
			e.Xattrs = []diskimage.Xattr{{Name: "user.a"}, {Name: "user.a"}}
		}), "twice"},
	}
}

// invalidTrees plans trees that the file system cannot hold.
func (w Writer) invalidTrees(t *testing.T) {
	trees := w.Invalid
	if !w.NoInodes {
		trees = append(invalid(), trees...)
	}
	for _, tt := range trees {
		_, err := w.Formatter.Plan(w.Size, w.Filesystem, tt.Tree)
		if err == nil || !strings.Contains(err.Error(), tt.Want) {
			t.Errorf("%s: got %v, want %q in it", tt.Name, err, tt.Want)
		}
	}
}

// brokenContent is content with a given close error.
type brokenContent struct {
	io.ReaderAt
	closeError error
}

// Close implements io.Closer.
func (b brokenContent) Close() error { return b.closeError }

// failingReader fails with an error.
type failingReader struct{ err error }

// ReadAt implements io.ReaderAt.
func (f failingReader) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// discard ignores what is written.
type discard struct{}

// WriteAt implements io.WriterAt.
func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// contentErrors writes files of several sizes whose content fails in different ways.
func (w Writer) contentErrors(t *testing.T) {
	cause := errors.New("bad sector")
	for _, size := range []int{1000, 10_000, 2 << 20} {
		zeros := bytes.NewReader(make([]byte, size))
		short := bytes.NewReader(make([]byte, size/2))
		for _, tt := range []struct {
			name    string
			content brokenContent
			open    error
			want    string
		}{
			{"short", brokenContent{short, nil}, nil, fmt.Sprint(size)},
			{"open", brokenContent{zeros, nil}, cause, cause.Error()},
			{"read", brokenContent{failingReader{cause}, nil}, nil, cause.Error()},
			{"close", brokenContent{zeros, cause}, nil, cause.Error()},
		} {
			e := Entry("file", unix.S_IFREG)
			e.Size, e.Open = int64(size), func() (diskimage.Content, error) { return tt.content, tt.open }
			err := w.plan(t, Tree{Dir("."), e}).Write(t.Context(), discard{})
			if err == nil || !strings.Contains(err.Error(), `"file"`) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s of %d bytes: got %v, want %q and the name in it", tt.name, size, err, tt.want)
			}
			if tt.want == cause.Error() && !errors.Is(err, cause) {
				t.Errorf("%s of %d bytes: %v does not wrap its cause", tt.name, size, err)
			}
		}
	}
}
