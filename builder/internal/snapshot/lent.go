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
)

// A hook can see, without opening anything, which files are in the directories that are lent to it, their types, modes,
// sizes and owners, and where links lead. Nobody tells of such a look, so all of that is an input of the hook. Times
// are not: another checkout of the same files has others.

// lentDir is a directory of the host that a step sees, with all that can be seen in it without opening a file.
type lentDir struct {
	target.SharedDir
	// entries are what is in the directory, and the directory itself as ".", sorted by name.
	entries []lentEntry
	ignored *ignoreList
}

// lentEntry is a file in a lent directory.
type lentEntry struct {
	// name is relative to the directory.
	name string
	// seen is what a program can see of it, as text.
	seen     string
	mode     uint32
	uid, gid uint32
	// state tells whether it was changed meanwhile, by whomever.
	state lentState
}

// lentState is what the kernel changes if a file changes.
type lentState struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func lentStateOf(st *unix.Stat_t) lentState {
	return lentState{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
}

// changed reports whether a file may have another content.
func (s lentState) changed(now lentState) bool {
	s.ctime, now.ctime = unix.Timespec{}, unix.Timespec{}
	return s != now
}

// digest is that of all that can be seen.
func (d lentDir) digest() Digest {
	texts := make([]string, 0, 2*len(d.entries)+1)
	if d.ignored != nil {
		texts = append(texts, string(d.ignored.text))
	}
	for _, e := range d.entries {
		texts = append(texts, e.name, e.seen)
	}
	return HashOf(texts...)
}

// find gives an entry by its name.
func (d lentDir) find(name string) (lentEntry, bool) {
	byName := func(e lentEntry, name string) int { return strings.Compare(e.name, name) }
	i, found := slices.BinarySearchFunc(d.entries, name, byName)
	if !found {
		return lentEntry{}, false
	}
	return d.entries[i], true
}

// path is the place of an entry on the host.
func (d lentDir) place(e lentEntry) string { return filepath.Join(d.Path, e.name) }

// isDir reports whether the entry is a directory.
func (e lentEntry) isDir() bool { return e.mode&unix.S_IFMT == unix.S_IFDIR }

// changedSince names a file that is not in the state that it had before, "" if all are. A change that takes the old
// time of modification back is an event of its own; the time of change is another one also if somebody makes a link to
// the file.
func (d lentDir) changedSince(before lentDir) string {
	for _, e := range d.entries {
		was, found := before.find(e.name)
		if !found || was.seen != e.seen || !e.isDir() && was.state.changed(e.state) {
			return d.place(e)
		}
	}
	for _, e := range before.entries {
		if _, found := d.find(e.name); !found {
			return d.place(e)
		}
	}
	return ""
}

// mostLent is how many files a lent directory may have: a home directory has fewer, and they take two seconds.
const mostLent = 1 << 20

// tooMuchError says that a directory is too large to look at all of it.
type tooMuchError struct{ dir, what string }

func (e *tooMuchError) Error() string {
	list := filepath.Join(e.dir, IgnoreName)
	return fmt.Sprintf("%s has more than %s; %s can name what does not matter", e.dir, e.what, list)
}

// lookAt looks at the directories that a step sees, but for what is this program's own, and for the sizes of the
// build's scripts: whoever works on the last hook need not wait for those before it, unless they open it. All are real
// names.
func lookAt(dirs target.SharedDirs, own, scripts map[string]bool) ([]lentDir, error) {
	all := make([]lentDir, len(dirs))
	for i, d := range dirs {
		list, err := readIgnoreList(d.Path)
		if err != nil {
			return nil, err
		}
		all[i] = lentDir{SharedDir: d, ignored: list}
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

// skipper reports which names are no inputs: this program's own, and those that a list of a lent directory names.
func skipper(dirs []lentDir, own map[string]bool) func(name string, isDir bool) bool {
	return func(name string, isDir bool) bool {
		if own[name] {
			return true
		}
		return slices.ContainsFunc(dirs, func(d lentDir) bool {
			rel, below := strings.CutPrefix(name, strings.TrimSuffix(d.Path, "/")+"/")
			return below && d.ignored.matches(rel, isDir)
		})
	}
}

// lister lists a directory and all below it, several directories at a time.
type lister struct {
	top     string
	skip    func(name string, isDir bool) bool
	scripts map[string]bool
	group   errgroup.Group
	count   atomic.Int64
	mu      sync.Mutex
	entries []lentEntry
}

// listAll lists a directory with all below it, but for what skip names and the sizes of scripts. Files that only others
// can see are left out.
func listAll(top string, skip func(name string, isDir bool) bool, scripts map[string]bool) ([]lentEntry, error) {
	l := &lister{top: top, skip: skip, scripts: scripts}
	l.group.SetLimit(16) // more than processors: a network file system answers late
	var st unix.Stat_t
	if err := unix.Stat(top, &st); err != nil {
		return nil, ignoreDenied(&fs.PathError{Op: "stat", Path: top, Err: err})
	}
	self := newLentEntry(&st, "")
	self.name = "."
	l.entries = append(l.entries, self)
	l.group.Go(func() error { return l.list(".") })
	if err := l.group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(l.entries, func(a, b lentEntry) int { return strings.Compare(a.name, b.name) })
	return l.entries, nil
}

// list lists one directory, and begins with those in it.
func (l *lister) list(dir string) error {
	place := filepath.Join(l.top, dir)
	f, err := os.OpenFile(place, unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil // it became something else: the look after the step sees that
		}
		return ignoreDenied(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return ignoreDenied(err)
	}
	entries := make([]lentEntry, 0, len(names))
	for _, name := range names {
		e, err := entryAt(int(f.Fd()), name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", filepath.Join(place, name), err)
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
	if l.count.Add(int64(len(entries))) > mostLent {
		return &tooMuchError{l.top, fmt.Sprintf("%d files", mostLent)}
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

// entryAt looks at a file of an open directory.
func entryAt(dir int, name string) (lentEntry, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return lentEntry{}, err
	}
	text := ""
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return lentEntry{}, err
		}
		text = string(buf[:n])
	}
	return newLentEntry(&st, text), nil
}

// newLentEntry describes a file. The size of a directory is its file system's own affair.
func newLentEntry(st *unix.Stat_t, link string) lentEntry {
	e := lentEntry{mode: st.Mode, uid: st.Uid, gid: st.Gid, state: lentStateOf(st)}
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

// owner tells type, mode and owners.
func (e lentEntry) owner() string { return fmt.Sprintf("%o %d:%d", e.mode, e.uid, e.gid) }

// realName resolves the symbolic links of the directory that a file is in; the file itself need not be there.
func realName(name string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		return filepath.Join(dir, filepath.Base(name))
	}
	return name
}
