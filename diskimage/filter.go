// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"io/fs"
	"iter"
	"strings"
	"time"
)

// Filter leaves out entries that keep says no to, a directory together with all that is in it. keep is not asked about
// the root. A file stays whole as long as one of its names does.
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

// Subtree is the directory dir of tree as a tree of its own, for what goes onto a partition of its own. Reading it
// gives an error that wraps fs.ErrNotExist if tree has no such directory.
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

// Clamp sets times that are later than latest to latest, as SOURCE_DATE_EPOCH asks for.
func Clamp(tree Tree, latest time.Time) Tree {
	return mapped{tree, func(e Entry) Entry {
		if e.ModTime.After(latest) {
			e.ModTime = latest
		}
		return e
	}}
}

// Dense asks for the regular files whose names match to be written without holes. A file with several names counts by
// the first of them.
func Dense(tree Tree, match func(name string) bool) Tree {
	return mapped{tree, func(e Entry) Entry {
		if e.IsRegular() && match(e.Name) {
			e.Dense = true
		}
		return e
	}}
}

// Map changes each entry by itself. change must keep the name and the type, and do the same to all names of a file.
func Map(tree Tree, change func(Entry) Entry) Tree { return mapped{tree, change} }

// mapped is a Tree each of whose entries is changed in the same way.
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

// WithoutContents leaves out what is in the directories, and keeps the directories themselves, as mount points.
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
