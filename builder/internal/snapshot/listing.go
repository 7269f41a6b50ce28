// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// A hook can see, without opening anything, the names, types, modes, sizes and owners of the files in the directories
// that are shared with it, and the targets of links. The kernel does not report that, so all of it is an input of the
// hook. Times are not: they differ in another checkout of the same files.

// listedDir is a directory of the host that a step sees, with everything that can be seen in it without opening a file.
type listedDir struct {
	target.SharedDir
	// entries are the files below the directory, and the directory itself as ".", sorted by name.
	entries []listedFile
	ignored *ignoreList
}

// listedFile is a file in a shared directory.
type listedFile struct {
	// name is relative to the directory.
	name string
	// seen is a text of what a program can see of it.
	seen     string
	mode     uint32
	uid, gid uint32
	// state shows whether the file was changed meanwhile.
	state fileState
}

// fileState is what the kernel changes when a file changes.
type fileState struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds
}

// fileStateOf returns the state in a stat result.
func fileStateOf(st *unix.Stat_t) fileState {
	return fileState{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// changed reports whether the content of a file may have changed.
func (s fileState) changed(now fileState) bool {
	s.Ctime, now.Ctime = 0, 0
	return s != now
}

// digest returns a digest of everything that can be seen.
func (d listedDir) digest() Digest {
	texts := make([]string, 0, 2*len(d.entries)+1)
	if d.ignored != nil {
		texts = append(texts, string(d.ignored.text))
	}
	for _, e := range d.entries {
		texts = append(texts, e.name, e.seen)
	}
	return HashOf(texts...)
}

// find returns an entry by its name.
func (d listedDir) find(name string) (listedFile, bool) {
	byName := func(e listedFile, name string) int { return strings.Compare(e.name, name) }
	i, found := slices.BinarySearchFunc(d.entries, name, byName)
	if !found {
		return listedFile{}, false
	}
	return d.entries[i], true
}

// fileName returns the name of an entry on the host.
func (d listedDir) fileName(e listedFile) string { return filepath.Join(d.Path, e.name) }

// isDir reports whether the entry is a directory.
func (e listedFile) isDir() bool { return e.mode&unix.S_IFMT == unix.S_IFDIR }

// changedSince returns the name of a file whose state has changed since before, "" if there is none. It ignores the
// ctime, which also changes when a hard link to the file is made; restoring an mtime causes an event of its own.
func (d listedDir) changedSince(before listedDir) string {
	for _, e := range d.entries {
		was, found := before.find(e.name)
		if !found || was.seen != e.seen || !e.isDir() && was.state.changed(e.state) {
			return d.fileName(e)
		}
	}
	for _, e := range before.entries {
		if _, found := d.find(e.name); !found {
			return d.fileName(e)
		}
	}
	return ""
}

// maxListed limits the number of files in a shared directory: a home directory has fewer, and listing that many takes
// two seconds.
const maxListed = 1 << 20

// tooLargeError says that a directory is too large to list or watch.
type tooLargeError struct{ dir, what string }

func (e *tooLargeError) Error() string {
	list := filepath.Join(e.dir, IgnoreName)
	return fmt.Sprintf("%s has more than %s; list files that are not inputs in %s", e.dir, e.what, list)
}

// listDirs lists the directories that a step sees, without this program's own files and without the sizes of
// the build's scripts: editing the last hook must not make the earlier ones run again, unless they open it.
// All names are real names.
func listDirs(dirs target.SharedDirs, own, scripts map[string]bool) ([]listedDir, error) {
	all := make([]listedDir, len(dirs))
	for i, d := range dirs {
		list, err := readIgnoreList(d.Path)
		if err != nil {
			return nil, err
		}
		all[i] = listedDir{SharedDir: d, ignored: list}
	}
	skip := skipper(all, own)
	for i, d := range dirs {
		var err error
		if all[i].entries, err = listAll(d.Path, skip, scripts); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// skipper returns a function that reports whether a name is not an input: this program's own files, and files that an
// ignore list matches.
func skipper(dirs []listedDir, own map[string]bool) func(name string, isDir bool) bool {
	return func(name string, isDir bool) bool {
		if own[name] || diskimage.IsUnfinished(name) {
			return true
		}
		return slices.ContainsFunc(dirs, func(d listedDir) bool {
			rel, below := strings.CutPrefix(name, strings.TrimSuffix(d.Path, "/")+"/")
			return below && d.ignored.matches(rel, isDir)
		})
	}
}

// lister lists a directory recursively, several directories at a time.
type lister struct {
	top     string
	skip    func(name string, isDir bool) bool
	scripts map[string]bool
	group   errgroup.Group
	count   atomic.Int64
	mu      sync.Mutex
	entries []listedFile
}

// listAll lists a directory recursively, without the names that skip reports and the sizes of scripts. It leaves out
// files that the caller cannot see.
func listAll(top string, skip func(name string, isDir bool) bool, scripts map[string]bool) ([]listedFile, error) {
	l := &lister{top: top, skip: skip, scripts: scripts}
	l.group.SetLimit(16) // more than processors: network file systems have latency
	var st unix.Stat_t
	if err := unix.Stat(top, &st); err != nil {
		return nil, ignoreDenied(&fs.PathError{Op: "stat", Path: top, Err: err})
	}
	self := newListedFile(&st, "")
	self.name = "."
	l.entries = append(l.entries, self)
	l.group.Go(func() error { return l.list(".") })
	if err := l.group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(l.entries, func(a, b listedFile) int { return strings.Compare(a.name, b.name) })
	return l.entries, nil
}

// list lists one directory and starts listing those in it.
func (l *lister) list(dir string) error {
	full := filepath.Join(l.top, dir)
	f, err := os.OpenFile(full, unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil // no longer a directory: the listing after the step shows that
		}
		return ignoreDenied(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return ignoreDenied(err)
	}
	entries := make([]listedFile, 0, len(names))
	for _, name := range names {
		e, err := entryAt(int(f.Fd()), name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", filepath.Join(full, name), err)
		}
		e.name = path.Join(dir, name)
		full := filepath.Join(l.top, e.name)
		if l.skip(full, e.isDir()) {
			continue
		}
		if l.scripts[full] && e.mode&unix.S_IFMT == unix.S_IFREG {
			e.seen = e.owner()
		}
		entries = append(entries, e)
	}
	if l.count.Add(int64(len(entries))) > maxListed {
		return &tooLargeError{l.top, fmt.Sprintf("%d files", maxListed)}
	}
	l.mu.Lock()
	l.entries = append(l.entries, entries...)
	l.mu.Unlock()
	for _, e := range entries {
		if !e.isDir() {
			continue
		}
		if below := func() error { return l.list(e.name) }; !l.group.TryGo(below) {
			if err := below(); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryAt describes a file of an open directory.
func entryAt(dir int, name string) (listedFile, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return listedFile{}, err
	}
	text := ""
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return listedFile{}, err
		}
		text = string(buf[:n])
	}
	return newListedFile(&st, text), nil
}

// newListedFile describes a file. The size of a directory depends on the file system, so it is left out.
func newListedFile(st *unix.Stat_t, link string) listedFile {
	e := listedFile{mode: st.Mode, uid: st.Uid, gid: st.Gid, state: fileStateOf(st)}
	switch e.seen = e.owner(); st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.seen += fmt.Sprintf(" %d", st.Size)
	case unix.S_IFLNK:
		e.seen += " " + link
	case unix.S_IFCHR, unix.S_IFBLK:
		e.seen += fmt.Sprintf(" %#x", st.Rdev)
	}
	return e
}

// owner returns a text of type, mode and owners.
func (e listedFile) owner() string { return fmt.Sprintf("%o %d:%d", e.mode, e.uid, e.gid) }

// realName resolves symbolic links in the directory of a file; the file itself need not exist.
func realName(name string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		return filepath.Join(dir, filepath.Base(name))
	}
	return name
}
