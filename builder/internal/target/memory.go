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

// Memory provides the files of a Tree by name. Changes stay in memory; the method Tree returns the changed Tree.
type Memory struct {
	base    diskimage.Tree
	Index   diskimage.Index // the current entries
	added   map[string]diskimage.Entry
	removed map[string]bool // names removed from base
	time    time.Time       // modification time of new entries
}

// NewMemory returns the files of base. now is the modification time of everything that is written.
func NewMemory(base diskimage.Tree, now time.Time) (*Memory, error) {
	index, err := diskimage.NewIndex(base)
	if err != nil {
		return nil, err
	}
	for name, e := range index {
		if e.HardLink != "" { // the first name of the file may be removed later
			first := index[e.HardLink]
			first.Name = name
			index[name] = first
		}
	}
	return &Memory{base: base, Index: index, added: map[string]diskimage.Entry{}, removed: map[string]bool{},
		time: now}, nil
}

// Tree returns base with the changes.
func (t *Memory) Tree() (diskimage.Tree, error) {
	kept := diskimage.Filter(t.base, func(e diskimage.Entry) bool { return !t.removed[e.Name] })
	return diskimage.Overlay(kept, slices.Collect(maps.Values(t.added))...)
}

// resolve follows symbolic links in the directory of name and returns the resulting name in the tree.
func (t *Memory) resolve(op, name string) (string, error) {
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

// ReadFile implements Files.
func (t *Memory) ReadFile(name string) ([]byte, error) { return t.Index.ReadFile(name) }

// WriteFile implements Files.
func (t *Memory) WriteFile(name string, data []byte, mode fs.FileMode) error {
	resolved, err := t.resolve("write", name)
	if err != nil {
		return err
	}
	if e, exists := t.Index[resolved]; exists && e.IsDir() {
		return &fs.PathError{Op: "write", Path: name, Err: unix.EISDIR}
	}
	if err := t.RemoveAll(resolved); err != nil {
		return err
	}
	t.add(diskimage.FileEntry(resolved, uint32(mode.Perm()), data, t.time))
	return nil
}

// Symlink implements Files.
func (t *Memory) Symlink(text, name string) error {
	resolved, err := t.resolve("link", name)
	if err != nil {
		return err
	}
	if err := t.RemoveAll(resolved); err != nil {
		return err
	}
	t.add(diskimage.SymlinkEntry(resolved, text, t.time))
	return nil
}

// MkdirAll implements Files.
func (t *Memory) MkdirAll(name string, mode fs.FileMode) error {
	at := "."
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		at = path.Join(at, part)
		if _, exists := t.Index[at]; !exists {
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

// Remove implements Files.
func (t *Memory) Remove(name string) error { return t.RemoveAll(name) }

// RemoveAll implements Files.
func (t *Memory) RemoveAll(name string) error {
	resolved, err := t.resolve("remove", name)
	if err != nil {
		return nil // without its directory the name does not exist
	}
	if e, exists := t.Index[resolved]; exists && e.IsDir() {
		for other := range t.Index {
			if strings.HasPrefix(other, resolved+"/") {
				delete(t.Index, other)
				delete(t.added, other)
			}
		}
	}
	delete(t.Index, resolved)
	delete(t.added, resolved)
	t.removed[resolved] = true
	return nil
}

// ReadDir implements Files.
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

// Lstat implements Files.
func (t *Memory) Lstat(name string) (fs.FileInfo, error) {
	if path.Clean("/"+name) == "/" {
		return treeInfo{t.Index["."]}, nil
	}
	resolved, err := t.resolve("lstat", name)
	if err != nil {
		return nil, err
	}
	e, exists := t.Index[resolved]
	if !exists {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return treeInfo{e}, nil
}

// Readlink implements Files.
func (t *Memory) Readlink(name string) (string, error) {
	resolved, err := t.resolve("readlink", name)
	if err != nil {
		return "", err
	}
	switch e, exists := t.Index[resolved]; {
	case !exists:
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrNotExist}
	case e.Mode&unix.S_IFMT != unix.S_IFLNK:
		return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.EINVAL}
	default:
		return e.Linkname, nil
	}
}

// treeInfo implements fs.FileInfo for an Entry.
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
