// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// inputs are what a program was seen to use of the target: a digest of each file that it opened, and one of the names
// in each directory on the way to these files. A program can also see that a file is there or is not, without opening
// it, and nobody tells of that; but hardly ever outside of directories that it opens something in.
type inputs map[string]Digest

// inputReader makes digests of a target's files.
type inputReader struct {
	target target.Target
	// hidden are words to overlook in contents.
	hidden []string
	// outputs are names to overlook in directories.
	outputs map[string]bool
	// epoch is the latest time that a file can have in what is made of it, if that records times; zero if that does not
	// matter.
	epoch time.Time
}

// read gives the digests of names and of the directories on the way to them. Names that are not there are left out:
// they were temporary files.
func (r inputReader) read(names []string) (inputs, error) {
	found := inputs{}
	for _, name := range names {
		for name = path.Clean(name); found[name] == ""; name = path.Dir(name) {
			digest, err := r.digest(name)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				break
			}
			if err != nil {
				return nil, err
			}
			found[name] = digest
		}
	}
	return found, nil
}

// changes names the inputs that are not as they were, in their order.
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

// digest is that of one file or directory.
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
		return HashOf(info.Mode().String(), r.owner(info), r.time(info), r.overlook(data)), nil
	default:
		return HashOf(info.Mode().String(), r.owner(info)), nil
	}
}

// overlook replaces hidden words of a text. Larger files are no texts about a system's IDs.
func (r inputReader) overlook(data []byte) string {
	text := string(data)
	if len(text) > 64<<10 {
		return text
	}
	for i, word := range r.hidden {
		text = strings.ReplaceAll(text, word, fmt.Sprintf("\x00%d\x00", i))
	}
	return text
}

// listing is a digest of what can be seen of a directory's files without opening them, but for their times and their
// exact sizes.
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
		info, err := e.Info()
		if err != nil {
			return "", err
		}
		text := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if text, err = r.target.Readlink(name); err != nil {
				return "", err
			}
		case info.Mode().IsRegular() && info.Size() == 0:
			text = "empty"
		}
		texts = append(texts, e.Name(), info.Mode().String(), text)
	}
	return HashOf(texts...), nil
}

func (inputReader) owner(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

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
