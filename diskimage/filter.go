// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"io/fs"
	"iter"
	"strings"
	"time"
)

// Filter returns the tree without the entries for which keep returns false, and without the content
// of such directories. keep is not called for the root. A file stays as long as one of its names
// does.
func Filter(tree Tree, keep func(Entry) bool) Tree { return filter{tree, keep} }

type filter struct {
	tree    Tree
	allowed func(Entry) bool
}

// Entries implements Tree.
func (t filter) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		links := newLinkKeeper()
		skipped := ""
		for e, err := range t.tree.Entries() {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			gone := skipped != "" && isBelow(e.Name, skipped)
			if !gone && e.Name != rootName && !t.allowed(e) {
				gone = true
				if e.IsDir() {
					skipped = e.Name
				}
			}
			if gone {
				links.drop(e)
				continue
			}
			if !yield(links.keep(e), nil) {
				return
			}
		}
	}
}

// Subtree returns the directory dir of tree as a tree, for a partition of its own. Reading it fails
// with an error that wraps fs.ErrNotExist if tree has no such directory.
func Subtree(tree Tree, dir string) Tree { return subtree{tree, dir} }

type subtree struct {
	tree Tree
	dir  string
}

// Entries implements Tree.
func (t subtree) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		dir, err := cleanName(t.dir)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		if dir == rootName {
			t.tree.Entries()(yield)
			return
		}
		links := newLinkKeeper()
		found := false
		for e, err := range t.tree.Entries() {
			switch {
			case err != nil:
				yield(Entry{}, err)
				return
			case e.Name == dir && e.IsDir():
				found = true
				e.Name = rootName
			case isBelow(e.Name, dir):
				e = links.keep(e)
				e.Name = strings.TrimPrefix(e.Name, dir+"/")
				e.HardLink = strings.TrimPrefix(e.HardLink, dir+"/")
			default:
				links.drop(e)
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
		if !found {
			yield(Entry{}, &fs.PathError{Op: "read directory", Path: t.dir, Err: fs.ErrNotExist})
		}
	}
}

// Clamp replaces times after latest by latest, as specified for SOURCE_DATE_EPOCH.
func Clamp(tree Tree, latest time.Time) Tree {
	return mapped{tree, func(e Entry) Entry {
		if e.ModTime.After(latest) {
			e.ModTime = latest
		}
		return e
	}}
}

// Dense requests that regular files with matching names are written without holes. The first name
// of a file decides.
func Dense(tree Tree, match func(name string) bool) Tree {
	return mapped{tree, func(e Entry) Entry {
		if e.IsRegular() && match(e.Name) {
			e.Dense = true
		}
		return e
	}}
}

// Map changes each entry separately. change must keep the name and the type, and must treat all
// names of a file alike.
func Map(tree Tree, change func(Entry) Entry) Tree { return mapped{tree, change} }

// mapped is a Tree with a change applied to each entry.
type mapped struct {
	tree   Tree
	change func(Entry) Entry
}

// Entries implements Tree.
func (t mapped) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range t.tree.Entries() {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(t.change(e), nil) {
				return
			}
		}
	}
}

// WithoutContents leaves out the content of directories and keeps the directories themselves, as
// mount points.
func WithoutContents(tree Tree, dirs []string) Tree {
	return Filter(tree, func(e Entry) bool {
		for _, dir := range dirs {
			if strings.HasPrefix(e.Name, dir+"/") {
				return false
			}
		}
		return true
	})
}
