// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"fmt"
	"io/fs"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// NewDirTree returns the directory root as a Tree. Use it where files appear to have the owners
// that the image should record: as root, or inside the user namespace in which the files were
// created.
//
// The tree may be hostile: no symbolic link in it is followed, neither for metadata nor for
// content, so that nothing outside root is read. Mount points are included. A file that changes
// before its content is opened is an error. /proc must be mounted, for the extended attributes.
//
// As many goroutines as there are processors read directories ahead; the Tree yields them in order.
func NewDirTree(root string, options ...DirOption) Tree {
	t := dirTree{root: root}
	for _, option := range options {
		option(&t)
	}
	return t
}

// DirOption changes how a directory is read as a Tree.
type DirOption func(*dirTree)

// WithOwnerXattrs applies the extended attributes of package ownerxattr, which record the intended
// owner where one user owns all files. Use it only for trees that our own program has made and no
// other user can write to: every user who can write to a file can set them. Without this option
// they are left out of the Tree.
func WithOwnerXattrs() DirOption { return func(t *dirTree) { t.owners = true } }

type dirTree struct {
	root   string
	owners bool // apply owner xattrs
}

// dirWalk is one walk over a directory tree.
type dirWalk struct {
	ahead *readAhead
	seen  map[inode]string // the first name of each file with more than one
	yield func(Entry, error) bool
}

// inode identifies a file: names with equal inodes are the same file.
type inode struct{ dev, ino uint64 }

// Entries implements Tree.
func (t dirTree) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		// Garbage collection closes root after the last of its Entries is gone, because Open needs
		// it.
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

// directory yields the content of a directory. It returns false to end the walk.
func (w *dirWalk) directory(l *listing) bool {
	children, err := w.ahead.take(l)
	for i := range children {
		c := &children[i]
		w.link(c)
		if !w.yield(c.entry, nil) || c.sub != nil && !w.directory(c.sub) {
			return false
		}
		*c = child{} // frees memory that the walk no longer needs
	}
	if err != nil {
		w.yield(Entry{}, err)
		return false
	}
	return true
}

// link turns all names of a file but the first into hard links to the first.
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

// pathError adds to an error the operation and the name in the tree, cut if it is long.
func pathError(op, name string, err error) error {
	if short := shortName(name); len(short) < len(name) {
		name = short
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
