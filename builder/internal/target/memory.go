// SPDX-License-Identifier: Apache-2.0

package target

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Memory are the files of a Tree by name. What is written to them stays in memory; tree gives the Tree with it.
type Memory struct {
	base    diskimage.Tree
	Index   diskimage.Index // as it is now
	added   map[string]diskimage.Entry
	removed map[string]bool // of base
	time    time.Time       // of what is written
}

func NewMemory(base diskimage.Tree, now time.Time) (*Memory, error) {
	index, err := diskimage.NewIndex(base)
	if err != nil {
		return nil, err
	}
	for name, e := range index {
		if e.HardLink != "" { // so that the first name of a file may go
			first := index[e.HardLink]
			first.Name = name
			index[name] = first
		}
	}
	return &Memory{base: base, Index: index, added: map[string]diskimage.Entry{}, removed: map[string]bool{},
		time: now}, nil
}

// Tree is base with what was written.
func (t *Memory) Tree() (diskimage.Tree, error) {
	kept := diskimage.Filter(t.base, func(e diskimage.Entry) bool { return !t.removed[e.Name] })
	return diskimage.Overlay(kept, slices.Collect(maps.Values(t.added))...)
}

// place finds the directory that a name is in, through links, and gives the name that it has in the tree.
func (t *Memory) place(op, name string) (string, error) {
	clean := path.Clean("/" + name)
	dir, err := t.Index.Follow(path.Dir(clean))
	switch {
	case err != nil:
		return "", err
	case !dir.IsDir():
		return "", &fs.PathError{Op: op, Path: name, Err: unix.ENOTDIR}
	}
	return path.Join(dir.Name, path.Base(clean)), nil
}

func (t *Memory) add(e diskimage.Entry) { t.added[e.Name], t.Index[e.Name] = e, e }

func (t *Memory) ReadFile(name string) ([]byte, error) { return t.Index.ReadFile(name) }

func (t *Memory) WriteFile(name string, data []byte, mode fs.FileMode) error {
	place, err := t.place("write", name)
	if err != nil {
		return err
	}
	if e, there := t.Index[place]; there && e.IsDir() {
		return &fs.PathError{Op: "write", Path: name, Err: unix.EISDIR}
	}
	if err := t.RemoveAll(place); err != nil {
		return err
	}
	t.add(diskimage.FileEntry(place, uint32(mode.Perm()), data, t.time))
	return nil
}

func (t *Memory) Symlink(text, name string) error {
	place, err := t.place("link", name)
	if err != nil {
		return err
	}
	if err := t.RemoveAll(place); err != nil {
		return err
	}
	t.add(diskimage.SymlinkEntry(place, text, t.time))
	return nil
}

func (t *Memory) MkdirAll(name string, mode fs.FileMode) error {
	at := "."
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		at = path.Join(at, part)
		if _, there := t.Index[at]; !there {
			t.add(diskimage.DirEntry(at, uint32(mode.Perm()), t.time))
			continue
		}
		e, err := t.Index.Follow(at)
		if err != nil {
			return err
		}
		if !e.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
		}
		at = e.Name
	}
	return nil
}

func (t *Memory) Remove(name string) error { return t.RemoveAll(name) }

func (t *Memory) RemoveAll(name string) error {
	place, err := t.place("remove", name)
	if err != nil {
		return nil //what is not there need not go
	}
	if e, there := t.Index[place]; there && e.IsDir() {
		for other := range t.Index {
			if strings.HasPrefix(other, place+"/") {
				delete(t.Index, other)
				delete(t.added, other)
			}
		}
	}
	delete(t.Index, place)
	delete(t.added, place)
	t.removed[place] = true
	return nil
}

func (t *Memory) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := t.Index.Follow(name)
	if err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	for _, e := range t.Index {
		if e.Name != "." && path.Dir(e.Name) == dir.Name {
			entries = append(entries, fs.FileInfoToDirEntry(treeInfo{e}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (t *Memory) Lstat(name string) (fs.FileInfo, error) {
	if path.Clean("/"+name) == "/" {
		return treeInfo{t.Index["."]}, nil
	}
	place, err := t.place("lstat", name)
	if err != nil {
		return nil, err
	}
	e, there := t.Index[place]
	if !there {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return treeInfo{e}, nil
}

func (t *Memory) Readlink(name string) (string, error) {
	place, err := t.place("readlink", name)
	if err != nil {
		return "", err
	}
	switch e, there := t.Index[place]; {
	case !there:
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrNotExist}
	case e.Mode&unix.S_IFMT != unix.S_IFLNK:
		return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.EINVAL}
	default:
		return e.Linkname, nil
	}
}

// treeInfo is an Entry as a fs.FileInfo.
type treeInfo struct{ e diskimage.Entry }

func (i treeInfo) Name() string       { return path.Base(i.e.Name) }
func (i treeInfo) Size() int64        { return i.e.Size }
func (i treeInfo) ModTime() time.Time { return i.e.ModTime }
func (i treeInfo) IsDir() bool        { return i.e.IsDir() }
func (i treeInfo) Sys() any           { return nil }

func (i treeInfo) Mode() fs.FileMode {
	mode := fs.FileMode(i.e.Mode).Perm()
	switch i.e.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	return mode
}

var _ Files = (*Memory)(nil)
