// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// memory is Content in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

var _ io.ReaderAt = memory{}

// FileEntry returns a regular file of user and group 0 with the given content. Only the permission
// bits of mode are used.
func FileEntry(name string, mode uint32, data []byte, mtime time.Time) Entry {
	e := Entry{Name: name, Mode: unix.S_IFREG | mode&0o7777, ModTime: mtime, Size: int64(len(data))}
	if len(data) > 0 {
		e.Open = func() (Content, error) { return memory{bytes.NewReader(data)}, nil }
	}
	return e
}

// DirEntry returns a directory of user and group 0.
func DirEntry(name string, mode uint32, mtime time.Time) Entry {
	return Entry{Name: name, Mode: unix.S_IFDIR | mode&0o7777, ModTime: mtime}
}

// SymlinkEntry returns a symbolic link of user and group 0.
func SymlinkEntry(name, target string, mtime time.Time) Entry {
	return Entry{Name: name, Mode: unix.S_IFLNK | 0o777, ModTime: mtime, Linkname: target}
}

// IsDir reports whether the entry is a directory.
func (e Entry) IsDir() bool { return e.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether the entry is a regular file.
func (e Entry) IsRegular() bool { return e.Mode&unix.S_IFMT == unix.S_IFREG }

// EmptyTree returns a tree that holds only its root, a directory with mode 0755 of user and group
// 0.
func EmptyTree(mtime time.Time) Tree { return entriesTree{DirEntry(rootName, 0o755, mtime)} }

// entriesTree is a Tree of entries that are complete and sorted.
type entriesTree []Entry

// Entries implements Tree.
func (t entriesTree) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range t {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Overlay returns base with entries added, which replace entries of the same name. A directory that
// replaces a directory changes its metadata and keeps its content; any other entry replaces a
// directory and all of its content. Missing parent directories are added with mode 0755, user and
// group 0, and the time of the entry that needs them. Replacing one name of a hard-linked file does
// not affect its other names.
//
// It is an error if two entries have the same name, if a name leads out of the tree, or if base has
// something other than a directory where an entry needs a parent directory: symbolic links are not
// followed.
func Overlay(base Tree, entries ...Entry) (Tree, error) {
	var errs []error
	added := make(map[string]addition)
	for _, e := range entries {
		name, err := cleanName(e.Name)
		if err == nil && name == rootName && !e.IsDir() {
			err = fmt.Errorf("name %q: the root must be a directory", e.Name)
		}
		if _, twice := added[name]; err == nil && twice {
			err = fmt.Errorf("name %q: added twice", name)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.Name = name
		added[name] = addition{entry: e}
	}
	for _, a := range sortedAdditions(added) {
		errs = append(errs, addParents(added, a.entry))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("add to tree: %w", err)
	}
	return overlay{base, sortedAdditions(added)}, nil
}

// addition is an entry that an Overlay adds.
type addition struct {
	entry Entry
	// implied marks a directory that is added only if base does not have it.
	implied bool
}

// addParents adds the parent directories of e.
func addParents(added map[string]addition, e Entry) error {
	for dir := parentOf(e.Name); dir != rootName; dir = parentOf(dir) {
		a, ok := added[dir]
		switch {
		case !ok:
			added[dir] = addition{entry: DirEntry(dir, 0o755, e.ModTime), implied: true}
		case !a.entry.IsDir():
			return fmt.Errorf("name %q: %q is also added and is not a directory", e.Name, dir)
		case a.implied && a.entry.ModTime.Before(e.ModTime):
			// The latest time does not depend on the order of the entries.
			added[dir] = addition{entry: DirEntry(dir, 0o755, e.ModTime), implied: true}
		}
	}
	return nil
}

// sortedAdditions returns the additions in Tree order.
func sortedAdditions(added map[string]addition) []addition {
	return slices.SortedFunc(maps.Values(added),
		func(a, b addition) int { return comparePaths(a.entry.Name, b.entry.Name) })
}

type overlay struct {
	base  Tree
	added []addition // sorted
}

// Entries implements Tree. It merges base and the additions, which have the same order.
func (t overlay) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		added := t.added
		links := newLinkKeeper()
		replaced := "" // a directory of base that an addition has replaced
		for e, err := range t.base.Entries() {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for len(added) > 0 && comparePaths(added[0].entry.Name, e.Name) < 0 {
				if !yield(added[0].entry, nil) {
					return
				}
				added = added[1:]
			}
			gone := replaced != "" && isBelow(e.Name, replaced)
			if len(added) > 0 && added[0].entry.Name == e.Name {
				a := added[0]
				added = added[1:]
				switch {
				case a.implied && !e.IsDir():
					yield(Entry{}, fmt.Errorf("add %q to tree: %q is not a directory", added[0].entry.Name, e.Name))
					return
				case !a.implied:
					if e.IsDir() && !a.entry.IsDir() {
						replaced = e.Name
					}
					if !yield(a.entry, nil) {
						return
					}
					gone = true
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
		for _, a := range added {
			if !yield(a.entry, nil) {
				return
			}
		}
	}
}

// linkKeeper keeps hard links valid when names are removed from a tree: the first remaining name
// becomes the file.
type linkKeeper struct {
	gone  map[string]Entry  // removed files by name
	first map[string]string // removed name → the name that replaces it
}

func newLinkKeeper() linkKeeper {
	return linkKeeper{gone: make(map[string]Entry), first: make(map[string]string)}
}

// drop records an entry that is removed.
func (k linkKeeper) drop(e Entry) {
	if e.HardLink == "" && !e.IsDir() {
		k.gone[e.Name] = e
	}
}

// keep returns an entry that stays, updated for the entries that were removed.
func (k linkKeeper) keep(e Entry) Entry {
	if e.HardLink == "" {
		return e
	}
	if first, ok := k.first[e.HardLink]; ok {
		e.HardLink = first
		return e
	}
	if file, ok := k.gone[e.HardLink]; ok {
		k.first[e.HardLink] = e.Name
		file.Name = e.Name
		return file
	}
	return e
}
