// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
)

// sharedDir is a copy of a directory of the host, for a run that may change it.
//
// Both directories are open since before the run, and all below is reached from there without following a link: the
// program may put links in place of directories, or of the copy itself.
type sharedDir struct {
	source     string // for messages
	host, copy *os.File
	// before is what was copied.
	before map[string]sharedFile
}

// sharedFile is what tells a changed file from one that is as it was.
type sharedFile struct {
	mode  uint32
	size  int64
	time  unix.Timespec
	inode uint64
	// files are those of a directory.
	files map[string]sharedFile
}

// copyIn copies a directory, but for keep and what is in it, unless it is there itself.
func copyIn(to dirfd.Entry, source, keep string) (_ *sharedDir, err error) {
	l := &sharedDir{source: source}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.host, err = dirfd.OpenDir(source); err != nil {
		return nil, err
	}
	var kept unix.Stat_t
	if err := unix.Stat(keep, &kept); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, &fs.PathError{Op: "stat", Path: keep, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(l.host.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: source, Err: err}
	}
	if _, err := dirfd.Copy(to, dirfd.Entry{}, &st); err != nil {
		return nil, fmt.Errorf("copy %s: %w", source, err)
	}
	if l.copy, err = dirfd.OpenDirAt(to.Dir, to.Base); err != nil {
		return nil, err
	}
	if l.before, err = copyDir(l.copy, l.host, &kept); err != nil {
		return nil, fmt.Errorf("copy %s: %w", source, err)
	}
	return l, nil
}

// copyDir copies what is in a directory, but for keep.
func copyDir(to, from *os.File, keep *unix.Stat_t) (map[string]sharedFile, error) {
	names, err := list(from)
	if err != nil {
		return nil, err
	}
	copied := map[string]sharedFile{}
	for _, name := range names {
		if err := copyInto(copied, dirfd.Entry{Dir: to, Base: name}, dirfd.Entry{Dir: from, Base: name}, keep); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return copied, nil
}

// copyInto copies a file, or a directory with what is in it, and notes it.
func copyInto(copied map[string]sharedFile, to, from dirfd.Entry, keep *unix.Stat_t) error {
	st, err := from.Lstat()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has removed it meanwhile
	}
	if err != nil {
		return err
	}
	if st.Dev == keep.Dev && st.Ino == keep.Ino {
		return nil
	}
	made, err := dirfd.Copy(to, from, &st)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !made {
		return nil
	}
	if err != nil {
		return err
	}
	if st, err = to.Lstat(); err != nil {
		return err
	}
	file := stateOf(&st)
	if file.isDir() {
		source, err := dirfd.OpenDirAt(from.Dir, from.Base)
		if err != nil {
			return err
		}
		defer source.Close()
		dir, err := dirfd.OpenDirAt(to.Dir, to.Base)
		if err != nil {
			return err
		}
		defer dir.Close()
		if file.files, err = copyDir(dir, source, keep); err != nil {
			return err
		}
	}
	copied[to.Base] = file
	return nil
}

// list returns the names of what is in an open directory, sorted.
func list(dir *os.File) ([]string, error) {
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// stateOf is the state of a file. That of a directory does not tell of its content. A link cannot be changed,
// but another one may get its inode.
func stateOf(st *unix.Stat_t) sharedFile {
	state := sharedFile{mode: st.Mode}
	if !state.isDir() {
		state.inode, state.size, state.time = st.Ino, st.Size, st.Mtim
	}
	return state
}

func (f sharedFile) isDir() bool { return f.mode&unix.S_IFMT == unix.S_IFDIR }

// changed reports whether a file is another one now, or another state of it.
func (f sharedFile) changed(now sharedFile) bool {
	return f.mode != now.mode || f.inode != now.inode || f.size != now.size || f.time != now.time
}

// close lets go of the directories; it may be called more than once.
func (l *sharedDir) close() {
	// They were opened to be looked at.
	_ = l.host.Close()
	_ = l.copy.Close()
}

// copyOut does to the shared directory what was done to its copy, which was made at a place. It must be there still.
func (l *sharedDir) copyOut(place dirfd.Entry) error {
	there, err := place.Is(l.copy)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("the program has removed or replaced its copy of %s: nothing is brought back from there",
			l.source)
	}
	var st, host unix.Stat_t
	if err := errors.Join(unix.Fstat(int(l.copy.Fd()), &st), unix.Fstat(int(l.host.Fd()), &host)); err != nil {
		return err
	}
	if st.Mode != host.Mode {
		if err := dirfd.SetMode(l.host, &st); err != nil {
			return err
		}
	}
	if err := copyOutDir(&hostDir{file: l.host}, l.copy, l.before); err != nil {
		return fmt.Errorf("bring changes back to %s: %w", l.source, err)
	}
	return nil
}

// hostDir is a directory of the host that is opened when something has changed in it.
type hostDir struct {
	parent *hostDir
	name   string
	file   *os.File
}

func (d *hostDir) open() (*os.File, error) {
	if d.file != nil {
		return d.file, nil
	}
	parent, err := d.parent.open()
	if err == nil {
		d.file, err = dirfd.OpenDirAt(parent, d.name)
	}
	return d.file, err
}

// at is a name in the directory.
func (d *hostDir) at(name string) (dirfd.Entry, error) {
	dir, err := d.open()
	return dirfd.Entry{Dir: dir, Base: name}, err
}

// copyOutDir does to a directory what was done to its copy.
func copyOutDir(to *hostDir, from *os.File, before map[string]sharedFile) error {
	names, err := list(from)
	if err != nil {
		return err
	}
	gone := maps.Clone(before)
	for _, name := range names {
		was, known := before[name]
		delete(gone, name)
		if err := copyOutEntry(to, dirfd.Entry{Dir: from, Base: name}, was, known); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		if err := removeKnown(to, name, gone[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// copyOutEntry does so with one file, or a directory with what is in it.
func copyOutEntry(to *hostDir, from dirfd.Entry, was sharedFile, known bool) error {
	st, err := from.Lstat()
	if err != nil {
		return err
	}
	now := stateOf(&st)
	if !known || was.changed(now) {
		if was.isDir() && !now.isDir() {
			if err := removeKnown(to, from.Base, was); err != nil {
				return err
			}
		}
		place, err := to.at(from.Base)
		if err != nil {
			return err
		}
		if err := replace(place, from, &st); err != nil {
			return err
		}
	}
	if !now.isDir() {
		return nil
	}
	dir, err := dirfd.OpenDirAt(from.Dir, from.Base)
	if err != nil {
		return err
	}
	defer dir.Close()
	host := &hostDir{parent: to, name: from.Base}
	defer func() { _ = host.file.Close() }() // it may not have been opened; and nothing was written by it
	return copyOutDir(host, dir, was.files)
}

// removeKnown removes a file that was copied, or a directory with what was copied of it. What is something else by now,
// or holds something else, stays.
func removeKnown(in *hostDir, name string, was sharedFile) error {
	place, err := in.at(name)
	if err != nil {
		return ignoreOthers(err)
	}
	if !was.isDir() {
		return ignoreOthers(place.Remove(0))
	}
	dir := &hostDir{parent: in, name: name}
	defer func() { _ = dir.file.Close() }() // as above
	for _, below := range slices.Sorted(maps.Keys(was.files)) {
		if err := removeKnown(dir, below, was.files[below]); err != nil {
			return fmt.Errorf("%s: %w", below, err)
		}
	}
	return ignoreOthers(place.Remove(unix.AT_REMOVEDIR))
}

// ignoreOthers drops the errors that say that a file is gone, or another one now.
func ignoreOthers(err error) error {
	for _, other := range []error{fs.ErrNotExist, unix.ENOTDIR, unix.EISDIR, unix.ELOOP, unix.ENOTEMPTY} {
		if errors.Is(err, other) {
			return nil
		}
	}
	return err
}

// replace makes to what from is, in one step where it is a file.
func replace(to, from dirfd.Entry, st *unix.Stat_t) error {
	there, err := to.Lstat()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	missing := err != nil
	isDir := there.Mode&unix.S_IFMT == unix.S_IFDIR
	if !missing && there.Dev == st.Dev && there.Ino == st.Ino {
		return nil // a link: it has changed with its copy
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if !missing && !isDir {
			if err := to.Remove(0); err != nil {
				return err
			}
		}
		_, err := dirfd.Copy(to, from, st)
		return err
	}
	temp := dirfd.Entry{Dir: to.Dir, Base: dirfd.TempName(to.Base)}
	made, err := dirfd.Copy(temp, from, st)
	if err == nil && made && !missing && isDir { // what was known of it has been removed
		err = to.Remove(unix.AT_REMOVEDIR)
	}
	if err == nil && made {
		err = temp.Rename(to)
	}
	if err != nil {
		if removeErr := temp.Remove(0); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}
