// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"fmt"
	"io/fs"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// NewDirTree is the directory root as a Tree. Run it where the owners of the files look as the image should record
// them: as root, or inside the user namespace that the files were made in.
//
// The tree may be hostile: no symbolic link in it is followed, neither for metadata nor for content, so nothing outside
// of root is ever read. Mount points are walked into. A tree that changes meanwhile gives an error where that matters.
// /proc must be mounted, for the extended attributes.
//
// Directories are read ahead by as many goroutines as there are processors, and given out in the order of a Tree.
func NewDirTree(root string, options ...DirOption) Tree {
	t := dirTree{root: root}
	for _, option := range options {
		option(&t)
	}
	return t
}

// DirOption changes how a directory is read as a Tree.
type DirOption func(*dirTree)

// WithOwnerXattrs believes the extended attributes of package ownerxattr, which say whose a file should be
// where every file belongs to the same user. It is for trees that a program of ours has made, and nobody else
// has written to: whoever may write to a file may set them. Without this option they are left out of the
// Tree, as they mean nothing.
func WithOwnerXattrs() DirOption { return func(t *dirTree) { t.owners = true } }

type dirTree struct {
	root   string
	owners bool // are in extended attributes
}

// dirWalk is one walk over a directory tree.
type dirWalk struct {
	ahead *readAhead
	seen  map[inode]string // files that have other names, by what they are
	yield func(Entry, error) bool
}

// inode reports whether two names are the same file.
type inode struct{ dev, ino uint64 }

// Entries implements Tree.
func (t dirTree) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		// Closed when the last Entry of it is gone: Open needs it.
		root, err := os.OpenFile(t.root, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			yield(Entry{}, fmt.Errorf("read tree: %w", err))
			return
		}
		ahead := newReadAhead(root, t.owners)
		defer ahead.stop()
		e, err := ahead.rootEntry()
		if err != nil {
			yield(Entry{}, fmt.Errorf("read tree %s: %w", t.root, err))
			return
		}
		w := &dirWalk{ahead: ahead, seen: make(map[inode]string), yield: yield}
		if yield(e, nil) {
			w.directory(newListing(rootName))
		}
	}
}

// directory yields what is in a directory; false ends the walk.
func (w *dirWalk) directory(l *listing) bool {
	children, err := w.ahead.take(l)
	for i := range children {
		c := &children[i]
		w.link(c)
		if !w.yield(c.entry, nil) || c.sub != nil && !w.directory(c.sub) {
			return false
		}
		*c = child{} // what the walk is done with need not stay in memory
	}
	if err != nil {
		w.yield(Entry{}, err)
		return false
	}
	return true
}

// link makes the second and any other name of a file a hard link to the first.
func (w *dirWalk) link(c *child) {
	if !c.linked {
		return
	}
	if first, ok := w.seen[c.id]; ok {
		c.entry.HardLink, c.entry.Open = first, nil
	} else {
		w.seen[c.id] = c.entry.Name
	}
}

// pathError says what could not be done to which name of the tree.
func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
