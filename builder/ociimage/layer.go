// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// whiteout is the name prefix of a file that removes the file with the rest of the name from the layers below
// (OCI image specification, layer.md, "Whiteouts").
const whiteout = ".wh."

// Difference returns the layer that turns lower into upper: the entries of upper that are new or changed, their parent
// directories, and a whiteout for each removed name. It has all names of a file with hard links or none, because a link
// cannot refer to another layer. If lower is nil, the difference is all of upper.
//
// Contents are compared byte by byte, unless both trees have the same unchanged file on disk.
func Difference(lower, upper diskimage.Tree) diskimage.Tree { return difference{lower, upper} }

// difference implements Difference.
type difference struct{ lower, upper diskimage.Tree }

// names holds the entries of a tree in its order, and by name.
type names struct {
	order  []diskimage.Entry
	byName map[string]*diskimage.Entry
	links  map[string][]string // the first name of a file → all of them
}

// readNames reads the entries of a tree; nil is an empty one.
func readNames(tree diskimage.Tree) (names, error) {
	n := names{byName: map[string]*diskimage.Entry{}, links: map[string][]string{}}
	if tree == nil {
		return n, nil
	}
	for e, err := range tree.Entries() {
		if err != nil {
			return names{}, err
		}
		if strings.HasPrefix(path.Base(e.Name), whiteout) {
			return names{}, fmt.Errorf(
				"%q: in a layer of a container image, this name would remove another file", e.Name)
		}
		n.order = append(n.order, e)
		if e.HardLink != "" {
			if n.links[e.HardLink] == nil {
				n.links[e.HardLink] = []string{e.HardLink}
			}
			n.links[e.HardLink] = append(n.links[e.HardLink], e.Name)
		}
	}
	for i := range n.order {
		n.byName[n.order[i].Name] = &n.order[i]
	}
	return n, nil
}

// first returns the first name of an entry's file.
func first(e diskimage.Entry) string { return cmp.Or(e.HardLink, e.Name) }

// sameLinks reports whether an entry has the same other names in both trees.
func sameLinks(a, b names, old, now diskimage.Entry) bool {
	return slices.Equal(a.links[first(old)], b.links[first(now)])
}

// Entries implements diskimage.Tree.
func (d difference) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		lower, err := readNames(d.lower)
		if err != nil {
			yield(diskimage.Entry{}, err)
			return
		}
		upper, err := readNames(d.upper)
		if err != nil {
			yield(diskimage.Entry{}, err)
			return
		}
		wanted, err := changed(lower, upper)
		if err != nil {
			yield(diskimage.Entry{}, err)
			return
		}
		gone := removed(lower, upper)
		for _, dir := range slices.Sorted(maps.Keys(gone)) {
			want(wanted, dir)
		}
		for _, e := range upper.order {
			if !wanted[e.Name] {
				continue
			}
			if !yield(e, nil) {
				return
			}
			for _, base := range gone[e.Name] {
				if !yield(diskimage.FileEntry(path.Join(e.Name, whiteout+base), 0, nil, e.ModTime), nil) {
					return
				}
			}
		}
	}
}

// want marks a name and its parent directories.
func want(wanted map[string]bool, name string) {
	for !wanted[name] {
		wanted[name] = true
		name = path.Dir(name)
	}
}

// changed returns the names of upper that are new or differ from lower, and their parent directories.
func changed(lower, upper names) (map[string]bool, error) {
	wanted := map[string]bool{}
	for _, now := range upper.order {
		if wanted[now.Name] && !now.IsDir() {
			continue // marked as another name of a changed file
		}
		old := lower.byName[now.Name]
		if old != nil {
			same := sameRecord(*old, now) && sameLinks(lower, upper, *old, now)
			if same && now.HardLink == "" && now.IsRegular() {
				var err error
				if same, err = sameContent(*old, now); err != nil {
					return nil, fmt.Errorf("compare %q with the layer below: %w", now.Name, err)
				}
			}
			if same {
				continue
			}
		}
		want(wanted, now.Name)
		for _, name := range upper.links[first(now)] {
			want(wanted, name)
		}
	}
	return wanted, nil
}

// removed returns the names of lower that upper lacks, by directory of upper. Names below a directory that upper has
// removed or replaced need no whiteout.
func removed(lower, upper names) map[string][]string {
	gone := map[string][]string{}
	for _, old := range lower.order {
		dir := path.Dir(old.Name)
		if upper.byName[old.Name] != nil {
			continue
		}
		if parent := upper.byName[dir]; parent != nil && parent.IsDir() {
			gone[dir] = append(gone[dir], path.Base(old.Name))
		}
	}
	return gone
}

// sameRecord reports whether two entries are equal except for their contents.
func sameRecord(a, b diskimage.Entry) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.ModTime.Equal(b.ModTime) && a.Size == b.Size &&
		a.Major == b.Major && a.Minor == b.Minor && a.Linkname == b.Linkname &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y diskimage.Xattr) bool {
			return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
		})
}

// sameContent reports whether two regular files of the same size have the same content.
func sameContent(a, b diskimage.Entry) (same bool, err error) {
	if a.Size == 0 {
		return true, nil
	}
	x, err := a.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	y, err := b.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	if untouched(x, y) {
		return true, nil
	}
	return equalBytes(io.NewSectionReader(x, 0, a.Size), io.NewSectionReader(y, 0, b.Size))
}

// untouched reports whether two contents are the same unchanged file on disk. A file that an overlay has
// copied up keeps its inode number, but not its ctime, which no program can set.
func untouched(x, y diskimage.Content) bool {
	a, ok1 := x.(diskimage.InFile)
	b, ok2 := y.(diskimage.InFile)
	if !ok1 || !ok2 {
		return false
	}
	var s, t unix.Stat_t
	fdA, offsetA := a.InFile()
	fdB, offsetB := b.InFile()
	if unix.Fstat(fdA, &s) != nil || unix.Fstat(fdB, &t) != nil {
		return false
	}
	return offsetA == offsetB && s.Ino == t.Ino && s.Ctim == t.Ctim && s.Size == t.Size
}

// compareSize is the number of bytes compared at a time.
const compareSize = 256 << 10

// equalBytes reports whether two readers have the same content.
func equalBytes(a, b io.Reader) (bool, error) {
	x, y := make([]byte, compareSize), make([]byte, compareSize)
	for {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		ended := errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF)
		switch {
		case errA != nil && !ended:
			return false, errA
		case errB != nil && !errors.Is(errB, io.EOF) && !errors.Is(errB, io.ErrUnexpectedEOF):
			return false, errB
		case !bytes.Equal(x[:n], y[:m]):
			return false, nil
		case ended:
			return true, nil
		}
	}
}
