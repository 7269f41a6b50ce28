// SPDX-License-Identifier: Apache-2.0

package fat

import (
	"errors"
	"fmt"
	"math"
	"path"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"golang.org/x/sys/unix"
)

// node is a directory or a file.
type node struct {
	name      string // in the tree
	isDir     bool
	parent    *node
	children  []*node
	mtime     time.Time
	size      int64 // of a directory: the size of all its entries
	immutable bool
	open      func() (diskimage.Content, error)

	short   shortName
	long    []uint16 // nil if the short name is sufficient
	cluster uint32   // the first one, 0 if there is none
}

// base returns the last part of the name.
func (n *node) base() string { return path.Base(n.name) }

// readTree reads names and sizes and rejects what FAT cannot hold. The error names only the first
// few files.
func readTree(tree diskimage.Tree) (*node, error) {
	const tellAtMost = 10
	nodes := make(map[string]*node)
	var errs []error
	for e, err := range tree.Entries() {
		if err != nil {
			return nil, err
		}
		n, err := newNode(e, nodes)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q cannot be on a FAT file system: %w", e.Name, err))
		}
		if len(errs) == tellAtMost {
			break
		}
		if n == nil {
			continue
		}
		nodes[e.Name] = n
		if parent := nodes[path.Dir(e.Name)]; parent != nil && parent != n {
			n.parent = parent
			parent.children = append(parent.children, n)
		}
	}
	root := nodes["."]
	if root == nil && errs == nil {
		return nil, errors.New("BUG: the tree has no root")
	}
	return root, errors.Join(errs...)
}

// newNode makes a node from an entry.
func newNode(e diskimage.Entry, nodes map[string]*node) (*node, error) {
	n := &node{name: e.Name, isDir: e.IsDir(), mtime: e.ModTime, size: e.Size, immutable: e.Immutable, open: e.Open}
	if kind := kindOf(e.Mode); kind != "" {
		return nil, fmt.Errorf("it is %s", kind)
	}
	if e.Size > math.MaxUint32 {
		return nil, fmt.Errorf("its %d bytes are 4 GiB or more", e.Size)
	}
	if e.HardLink != "" {
		first := nodes[e.HardLink]
		if first == nil {
			return nil, fmt.Errorf("it is a hard link to %q, which does not exist", e.HardLink)
		}
		n.open = first.open
	}
	if e.Name == "." {
		return n, nil
	}
	return n, checkName(n.base())
}

// kindOf names a type that is neither directory nor regular file.
func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		return ""
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	default:
		return "of an unknown kind"
	}
}
