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
	"strings"
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
}

// read returns the digests of names and of their parent directories. It leaves out missing names, which were temporary
// files.
func (r inputReader) read(names []string) (inputs, error) {
	found := inputs{}
	next := map[string]bool{}
	for _, name := range names {
		next[path.Clean(name)] = true
	}
	for len(next) > 0 {
		names = slices.Collect(maps.Keys(next))
		digests, err := r.digests(names)
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
func (r inputReader) digests(names []string) ([]Digest, error) {
	digests := make([]Digest, len(names))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		group.Go(func() error {
			digest, err := r.digest(name)
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
func (r inputReader) digest(name string) (Digest, error) {
	info, err := r.target.Lstat(name)
	if err != nil {
		return "", err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return r.listing(name)
	case 0:
		data, err := r.target.ReadFile(name)
		if err != nil {
			return "", err
		}
		return HashOf(info.Mode().String(), r.owner(info), r.time(info), r.mask(data)), nil
	default:
		return HashOf(info.Mode().String(), r.owner(info)), nil
	}
}

// mask replaces hidden words of a text. Files above 64 KiB are not texts with a system's IDs.
func (r inputReader) mask(data []byte) string {
	text := string(data)
	if len(text) > 64<<10 {
		return text
	}
	for i, word := range r.hidden {
		text = strings.ReplaceAll(text, word, fmt.Sprintf("\x00%d\x00", i))
	}
	return text
}

// listing returns a digest of what a program can see of a directory's files without opening them, except their times
// and exact sizes.
func (r inputReader) listing(dir string) (Digest, error) {
	entries, err := r.target.ReadDir(dir)
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
