// SPDX-License-Identifier: Apache-2.0

package htmlreport

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Directory is a directory, or a file that is large enough to be shown by itself.
type Directory struct {
	Name string `json:"name"`
	// Size is the length of all files in it, without their holes. A file with several names counts once.
	Size uint64 `json:"size"`
	// Files is the number of names in it and below that are no directories.
	Files int `json:"files"`
	// Children are those of at least a thousandth of the whole, the largest first.
	Children []Directory `json:"children,omitempty"`
}

// smallestShare is the share of the whole that a directory or file needs to be listed: 1/smallestShare. maxDepth is how
// deep names are told apart; Debian's own trees are not deeper than that where files are large.
const (
	smallestShare = 1000
	maxDepth      = 16
)

// NewDirectory adds up the sizes of the files of a system.
func NewDirectory(index diskimage.Index) *Directory {
	type node struct {
		size     uint64
		files    int
		children map[string]*node
	}
	root := &node{children: map[string]*node{}}
	for name, e := range index {
		if e.IsDir() {
			continue
		}
		size := content(e)
		n := root
		n.size += size
		n.files++
		for _, part := range strings.SplitN(path.Clean(name), "/", maxDepth) {
			child := n.children[part]
			if child == nil {
				child = &node{children: map[string]*node{}}
				n.children[part] = child
			}
			n = child
			n.size += size
			n.files++
		}
	}
	least := max(1, root.size/smallestShare)
	var export func(name string, n *node) Directory
	export = func(name string, n *node) Directory {
		d := Directory{Name: name, Size: n.size, Files: n.files}
		for name, child := range n.children {
			if child.size >= least {
				d.Children = append(d.Children, export(name, child))
			}
		}
		slices.SortFunc(d.Children, func(a, b Directory) int {
			return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Name, b.Name))
		})
		return d
	}
	all := export("/", root)
	return &all
}

// content returns how many bytes of data a name has that no earlier one has.
func content(e diskimage.Entry) (size uint64) {
	switch {
	case !e.IsRegular() || e.HardLink != "":
		return 0
	case e.Data == nil:
		return uint64(max(0, e.Size))
	}
	for _, extent := range e.Data {
		size += uint64(max(0, extent.Length))
	}
	return size
}
