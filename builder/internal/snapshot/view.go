// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
)

// A hook can read every file of its own directory and of the caller's working directory, and the caller's
// environment. Its view holds everything that it can see of these without opening a file, and is known before
// it runs. Which files it opens is observed while it runs; see observation.

// observable is a step that uses parts of the host that are not in its data.
type observable interface {
	// HostDirs returns the directories of the host that the step sees if the caller's working directory is dir.
	HostDirs(dir string) target.SharedDirs
	// Variables returns the variables of the caller's environment that can change its result, sorted.
	Variables(environ []string) ([]string, error)
	// UsesToolbox reports whether it runs in the toolbox instead of the target.
	UsesToolbox() bool
}

// dirsOf returns the directories of the host that a step sees, without symbolic links in their names.
func (store *Store) dirsOf(step Step) target.SharedDirs {
	o, ok := step.(observable)
	if !ok {
		return nil
	}
	dirs := o.HostDirs(store.Dir)
	for i, d := range dirs {
		if real, err := filepath.EvalSymlinks(d.Path); err == nil {
			dirs[i].Path = real
		}
	}
	return dirs
}

// view is what a step can see besides the target and its own data, without opening a file.
type view struct {
	// Shared has a digest of each directory that is shared with the step, by its name in HostDirs.
	Shared map[string]Digest `json:"lent,omitempty"`
	// Environ is a hash of the caller's variables.
	Environ string `json:"environ"`
	// Toolbox is the name of the toolbox's snapshot.
	Toolbox string `json:"toolbox,omitempty"`

	dirs      []listedDir
	variables []string
}

// listings holds listed directories by their paths, so that steps that are compared at the same time share them.
type listings map[string][]listedDir

// viewOf returns the view of a step, nil for one that sees nothing of the host. The error says why it is incomplete.
func (store *Store) viewOf(step Step, l listings) (*view, error) {
	o, ok := step.(observable)
	if !ok {
		return nil, nil
	}
	dirs := store.dirsOf(step)
	key := strings.Join(dirs.Paths(), "\x00")
	seen, ok := l[key]
	if !ok {
		var err error
		if seen, err = listDirs(dirs, store.own(), store.scripts); err != nil {
			return nil, err
		}
		if l != nil {
			l[key] = seen
		}
	}
	v := &view{Shared: map[string]Digest{}, dirs: seen}
	var err error
	if v.variables, err = o.Variables(store.Environ); err != nil {
		return nil, err
	}
	for _, d := range seen {
		v.Shared[d.Name] = d.digest()
	}
	if v.Environ, err = store.environHash(v.variables); err != nil {
		return nil, err
	}
	if o.UsesToolbox() {
		v.Toolbox = store.Toolbox
	}
	return v, nil
}

// environHash returns a hash of variables that does not help to guess their values, which can be secrets.
func (store *Store) environHash(variables []string) (string, error) {
	text := string(HashOf(variables...))
	if hash, ok := store.environs[text]; ok {
		return hash, nil
	}
	key, err := scrypt.Key([]byte(text), []byte(store.firstDigest()), scryptCost, 8, 1, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("BUG: hash of the environment: %w", err)
	}
	if store.environs == nil {
		store.environs = map[string]string{}
	}
	store.environs[text] = hex.EncodeToString(key)
	return store.environs[text], nil
}

// own returns the real names of files and directories that this program writes.
func (store *Store) own() map[string]bool {
	names := slices.Clone(store.Settings.Ours)
	for _, remote := range slices.Concat(store.Settings.From, store.Settings.To) {
		if remote.Transport == transport.OCI {
			names = append(names, remote.Path)
		}
	}
	own := map[string]bool{}
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(store.Dir, name)
		}
		own[realName(name)] = true
		if target, err := filepath.EvalSymlinks(name); err == nil {
			own[target] = true // the link's target is written
		}
	}
	return own
}

// entry returns a file of the shared directories by its name on the host; found is false for ignored files.
func (v *view) entry(name string) (e listedFile, found bool) {
	for _, d := range v.dirs {
		if rel, err := filepath.Rel(d.Path, name); err == nil && filepath.IsLocal(rel) {
			if e, found := d.find(rel); found {
				return e, true
			}
		}
	}
	return listedFile{}, false
}

// ignores reports whether a name, or a directory above it, is not an input.
func (v *view) ignores(name string, own map[string]bool) bool {
	skip := skipper(v.dirs, own)
	for _, d := range v.dirs {
		rel, err := filepath.Rel(d.Path, name)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		for at := name; at != d.Path; at = filepath.Dir(at) {
			info, err := os.Lstat(at)
			if skip(at, err == nil && info.IsDir()) {
				return true
			}
		}
	}
	return false
}

// unnamed reports whether the kernel's name of a changed file stands for one that has no name (O_TMPFILE), so that no
// hook can see it: an output that is being written, for example. Such a name is "#" and the inode number
// (d_mark_tmpfile in fs/dcache.c). The kernel calls the open file so even after it is linked to a name, where hooks do
// see it.
func (v *view) unnamed(name string) bool {
	number, found := strings.CutPrefix(filepath.Base(name), "#")
	ino, err := strconv.ParseUint(number, 10, 64)
	if !found || err != nil {
		return false
	}
	return !slices.ContainsFunc(v.dirs, func(d listedDir) bool {
		return slices.ContainsFunc(d.entries, func(e listedFile) bool {
			return e.state.Ino == ino || d.fileName(e) == name
		})
	})
}

// directories returns the shared directories and all directories below them.
func (v *view) directories() []string {
	var names []string
	for _, d := range v.dirs {
		for _, e := range d.entries {
			if e.isDir() {
				names = append(names, d.fileName(e))
			}
		}
	}
	return names
}

// changed returns a name in the shared directories that has changed since, "" if there is none.
func (v *view) changed(store *Store, step Step) (string, error) {
	now, err := listDirs(store.dirsOf(step), store.own(), store.scripts)
	if err != nil {
		return "", err
	}
	for i, d := range now {
		if name := d.changedSince(v.dirs[i]); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// differences returns what differs between two views. kept has the contents of directories and environments by digest.
func (v *view) differences(was *view, kept records) []string {
	var changes []string
	for _, d := range v.dirs {
		if was.Shared[d.Name] != v.Shared[d.Name] {
			changes = append(changes, fmt.Sprintf("%s (list files that are not inputs in %s)",
				kept.changed(was.Shared[d.Name], d), filepath.Join(d.Path, IgnoreName)))
		}
	}
	if was.Environ != v.Environ {
		changes = append(changes, "the environment: "+kept.changedVariables(was.Environ, v.variables))
	}
	if was.Toolbox != v.Toolbox {
		changes = append(changes, "the toolbox has other packages")
	}
	slices.Sort(changes)
	return changes
}
