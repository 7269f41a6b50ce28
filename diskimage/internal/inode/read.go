// SPDX-License-Identifier: Apache-2.0

package inode

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Node is an inode as planned by a file system writer.
type Node interface {
	comparable
	IsDir() bool
}

// Writer builds the nodes of a file system from the entries of a tree.
type Writer[N Node] interface {
	// Root makes the root directory. It adds what the file system contains besides the tree to
	// names.
	Root(e *diskimage.Entry, names map[string]N) (N, error)
	// New makes an inode and adds it to a directory under the name base.
	New(e *diskimage.Entry, dir N, base string) (N, error)
	// Link adds an inode to a directory under another name.
	Link(n, dir N, base string)
	// Again handles an entry whose name exists, which may be one that Root has added. Its error
	// names the entry, as Twice does.
	Again(e *diskimage.Entry, n N) error
}

// Twice returns the error of Again for a duplicate entry.
func Twice(e *diskimage.Entry) error { return fmt.Errorf("%q appears twice", e.Name) }

// about adds the name of an entry to an error.
func about(e *diskimage.Entry, err error) error {
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	return nil
}

// rootName is the name of the root in a Tree.
const rootName = "."

// Read passes a tree to a writer and returns the nodes by all of their names. It rejects what no
// file system can hold: entries before their directories, invalid names, and hard links to missing
// files.
func Read[N Node](tree diskimage.Tree, maxName int, w Writer[N]) (map[string]N, error) {
	names := map[string]N{}
	var e diskimage.Entry // one for all: the writer gets its address
	var err error
	for e, err = range tree.Entries() {
		if err != nil {
			return nil, err
		}
		var n N
		if len(names) == 0 {
			n, err = readRoot(&e, names, w)
		} else {
			n, err = readEntry(&e, names, maxName, w)
		}
		if err != nil {
			return nil, err
		}
		names[e.Name] = n
	}
	if len(names) == 0 {
		return nil, errors.New("it has no root directory")
	}
	return names, nil
}

func readRoot[N Node](e *diskimage.Entry, names map[string]N, w Writer[N]) (n N, err error) {
	if e.Name != rootName || e.Mode&unix.S_IFMT != unix.S_IFDIR {
		return n, fmt.Errorf("%q comes first, want the root directory", e.Name)
	}
	n, err = w.Root(e, names)
	return n, about(e, err)
}

func readEntry[N Node](e *diskimage.Entry, names map[string]N, maxName int, w Writer[N]) (n N, err error) {
	if n, ok := names[e.Name]; ok {
		return n, w.Again(e, n)
	}
	dirName, base := Split(e.Name)
	dir, ok := names[dirName]
	switch {
	case !ok || !dir.IsDir():
		return n, fmt.Errorf("%q comes before its directory", e.Name)
	case base == "" || base == "." || base == ".." || strings.ContainsRune(base, 0):
		return n, fmt.Errorf("%q is not a valid name", e.Name)
	case len(base) > maxName:
		return n, fmt.Errorf("%q: the last element has %d bytes: the maximum is %d", e.Name, len(base), maxName)
	case e.HardLink == "":
		n, err = w.New(e, dir, base)
		return n, about(e, err)
	}
	n, ok = names[e.HardLink]
	if !ok || n.IsDir() {
		return n, fmt.Errorf("%q is a hard link to %q, which is not an earlier file", e.Name, e.HardLink)
	}
	w.Link(n, dir, base)
	return n, nil
}

// Split returns the directory and the last element of a name in a tree.
func Split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return rootName, name
}

// NotFound returns the error of Volume.Extents for a name that is not a regular file.
func NotFound(name string) error {
	return &fs.PathError{Op: "extents of", Path: name, Err: fs.ErrNotExist}
}
