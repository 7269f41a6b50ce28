// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// inputs is what a program was seen to use of the target: a digest of each file that it opened, and one of the names
// in each parent directory of these files. A program can also see without opening a file whether it exists, which
// inotify does not report; but it hardly ever does so outside of directories in which it opens something.
type inputs map[string]Digest

// inputReader computes digests of a target's files.
type inputReader struct {
	target target.Target
	// hidden are words to ignore in contents.
	hidden []string
	// outputs are names to ignore in directories.
	outputs map[string]bool
	// epoch is the latest time of files in the output, if that records times; zero otherwise.
	epoch time.Time
	// index has digests of contents by inode numbers, if all files with the device number dev are of the file system in
	// which the engine keeps its root file systems; nil for none.
	index *digestIndex
	dev   uint64
}

// read returns the digests of names and of their parent directories. It leaves out missing names, which were temporary
// files.
func (r inputReader) read(names []string) (inputs, error) {
	found, dirs := inputs{}, newDirReader(r.target)
	next := map[string]bool{}
	for _, name := range names {
		next[path.Clean(name)] = true
	}
	for len(next) > 0 {
		names = slices.Collect(maps.Keys(next))
		digests, err := r.digests(dirs, names)
		if err != nil {
			return nil, err
		}
		clear(next)
		for i, name := range names {
			if digests[i] != "" {
				found[name] = digests[i]
				next[path.Dir(name)] = true
			}
		}
		maps.DeleteFunc(next, func(name string, _ bool) bool { return found[name] != "" })
	}
	return found, nil
}

// digests returns the digest of each name, "" for a missing one. There can be thousands, of 100 MB in all.
func (r inputReader) digests(dirs *dirReader, names []string) ([]Digest, error) {
	digests := make([]Digest, len(names))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		group.Go(func() error {
			digest, err := r.digest(dirs, name)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				return nil
			}
			digests[i] = digest
			return err
		})
	}
	return digests, group.Wait()
}

// changes returns the names of inputs that have changed, sorted.
func (r inputReader) changes(was inputs) ([]string, error) {
	is, err := r.read(slices.Sorted(maps.Keys(was)))
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if is[name] != was[name] {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// digest returns the digest of one file or directory.
func (r inputReader) digest(dirs *dirReader, name string) (Digest, error) {
	info, err := dirs.lstat(name)
	if err != nil {
		return "", err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return r.listing(dirs, name)
	case 0:
		content, err := r.content(name, info)
		if err != nil {
			return "", err
		}
		return HashOf(info.Mode().String(), r.owner(info), r.time(info), string(content)), nil
	default:
		return HashOf(info.Mode().String(), r.owner(info)), nil
	}
}

// content returns the digest of the content of a regular file.
func (r inputReader) content(name string, info fs.FileInfo) (Digest, error) {
	if r.mayMention(name, info.Size()) {
		data, err := r.target.ReadFile(name)
		return HashOf(r.mask(data)), err
	}
	state := stateOf(info)
	index, key := r.index, strconv.FormatUint(state.Ino, 10)
	if state.Dev != r.dev {
		index = nil
	}
	state.Dev = 0 // of an overlay: another one in each build
	if digest, found := index.lookup(key, state); found {
		return digest, nil
	}
	data, err := r.target.ReadFile(name)
	if err != nil {
		return "", err
	}
	digest := HashOf(string(data))
	index.add(key, state, digest)
	return digest, nil
}

// stateOf returns the state of a file of a target.
func stateOf(info fs.FileInfo) fileState {
	st := info.Sys().(*syscall.Stat_t)
	return fileState{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// mayMention reports whether a file of that size can be a text with hidden words.
func (r inputReader) mayMention(name string, size int64) bool {
	return len(r.hidden) > 0 && size <= 64<<10 && !strings.HasPrefix(name, "/usr/")
}

// mask replaces hidden words of a text.
func (r inputReader) mask(data []byte) string {
	text := string(data)
	for i, word := range r.hidden {
		text = strings.ReplaceAll(text, word, fmt.Sprintf("\x00%d\x00", i))
	}
	return text
}

// listing returns a digest of what a program can see of a directory's files without opening them, except their times
// and exact sizes.
func (r inputReader) listing(dirs *dirReader, dir string) (Digest, error) {
	entries, err := dirs.read(dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if r.outputs[name] {
			continue
		}
		text, err := entryText(r.target, dir, e)
		if err != nil {
			return "", err
		}
		texts = append(texts, e.Name(), text)
	}
	return HashOf(texts...), nil
}

// entryText describes an entry of a directory as far as a program sees it without opening it: its mode, whether it is
// empty, where a link leads.
func entryText(f target.Files, dir string, e fs.DirEntry) (string, error) {
	info, err := e.Info()
	if err != nil {
		return "", err
	}
	text := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if text, err = f.Readlink(path.Join(dir, e.Name())); err != nil {
			return "", err
		}
	case info.Mode().IsRegular() && info.Size() == 0:
		text = "empty"
	}
	return info.Mode().String() + " " + text, nil
}

// owner returns the owner and group of a file.
func (inputReader) owner(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// time returns the time of a file as far as the output depends on it.
func (r inputReader) time(info fs.FileInfo) string {
	switch {
	case r.epoch.IsZero():
		return ""
	case info.ModTime().After(r.epoch):
		return "new"
	default:
		return info.ModTime().UTC().Format(time.RFC3339)
	}
}

// dirReader reads each directory of a target once. An entry also describes its file: one call for each name costs ten
// times as much.
type dirReader struct {
	target target.Target
	mu     sync.Mutex
	dirs   map[string]func() ([]fs.DirEntry, error)
}

func newDirReader(t target.Target) *dirReader {
	return &dirReader{target: t, dirs: map[string]func() ([]fs.DirEntry, error){}}
}

// read is ReadDir of the target.
func (d *dirReader) read(dir string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	read, known := d.dirs[dir]
	if !known {
		read = sync.OnceValues(func() ([]fs.DirEntry, error) { return d.target.ReadDir(dir) })
		d.dirs[dir] = read
	}
	d.mu.Unlock()
	return read()
}

// lstat is Lstat of the target.
func (d *dirReader) lstat(name string) (fs.FileInfo, error) {
	if name == "/" {
		return d.target.Lstat(name)
	}
	entries, err := d.read(path.Dir(name))
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(entries, path.Base(name),
		func(e fs.DirEntry, base string) int { return strings.Compare(e.Name(), base) })
	if !found {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return entries[i].Info()
}
