package builder

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/scrypt"
)

// A hook can read every file of its own directory and of the caller's working directory, and the caller's environment.
// Which of them it uses is seen, not guessed: the kernel tells which files are opened while it runs (inotify(7)). A
// snapshot of its result is good for as long as these files are the same, and so are the variables whose names are in
// them. A hook that writes to one of the directories does something that no snapshot can repeat: its result is not kept.

// observable is a step that uses files of the host that are not in its data.
type observable interface {
	// hostDirs are the directories of the host that the step sees when the caller's working directory is dir.
	hostDirs(dir string) hostDirs
}

// hostDirs are directories of the host that a step sees. Where they are does not matter: a snapshot is as good on another
// machine that has the same files elsewhere.
type hostDirs []hostDir

type hostDir struct{ name, path string }

// portable gives the name of a file without the place of the directory that it is in: "working directory:sub/file".
func (dirs hostDirs) portable(name string) string {
	for _, d := range dirs {
		if rel, err := filepath.Rel(d.path, name); err == nil && filepath.IsLocal(rel) {
			return d.name + ":" + rel
		}
	}
	return name
}

// local gives the file of a portable name; "" if there is no such directory here.
func (dirs hostDirs) local(name string) string {
	for _, d := range dirs {
		// A snapshot of another machine may say anything.
		if rel, ok := strings.CutPrefix(name, d.name+":"); ok && filepath.IsLocal(rel) {
			return filepath.Join(d.path, rel)
		}
	}
	return ""
}

func (dirs hostDirs) paths() []string {
	var paths []string
	for _, d := range dirs {
		paths = append(paths, d.path)
	}
	return paths
}

// dirsOf are the directories of the host that a step sees.
func (x *Executor) dirsOf(step Step) hostDirs {
	if o, ok := step.(observable); ok {
		return o.hostDirs(x.Dir)
	}
	return nil
}

// observation is what a step used of the host.
type observation struct {
	// Files holds a digest of each file's content and of each listed directory's names, by portable names.
	Files map[string]Digest `json:"files"`
	// Variables are names of environment variables, and Environ is a hash of their values.
	Variables []string `json:"variables,omitempty"`
	Environ   string   `json:"environ,omitempty"`
}

// newObservation looks at what a step has opened, and for variables that its data or these files name.
func newObservation(opened []string, l link, dirs hostDirs, environ []string) (*observation, error) {
	o := &observation{Files: map[string]Digest{}}
	values := hostVariables(environ)
	used := map[string]bool{}
	look := func(data []byte) {
		for _, word := range bytes.FieldsFunc(data, notInName) {
			if _, ok := values[string(word)]; ok {
				used[string(word)] = true
			}
		}
	}
	look(l.Inputs)
	if l.reveal != nil {
		for _, secret := range l.reveal() {
			look([]byte(secret))
		}
	}
	for _, name := range opened {
		digest, err := contentDigest(name, look)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a temporary file of somebody else
		}
		if err != nil {
			return nil, err
		}
		o.Files[dirs.portable(name)] = digest
	}
	o.Variables = slices.Sorted(maps.Keys(used))
	var text strings.Builder
	for _, name := range o.Variables {
		fmt.Fprintf(&text, "%s=%s\n", name, values[name])
	}
	if text.Len() > 0 {
		// Values can be secrets.
		hash, err := scrypt.Key([]byte(text.String()), []byte(l.Own), scryptCost, 8, 1, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("BUG: hash of the environment: %w", err)
		}
		o.Environ = hex.EncodeToString(hash)
	}
	return o, nil
}

// changes names what is not any more as it was.
func (o *observation) changes(l link, dirs hostDirs, environ []string) []string {
	var names []string
	for name := range o.Files {
		if local := dirs.local(name); local != "" {
			names = append(names, local)
		}
	}
	slices.Sort(names)
	now, err := newObservation(names, l, dirs, environ)
	if err != nil {
		return []string{err.Error()}
	}
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(o.Files)) {
		if now.Files[name] != o.Files[name] {
			changes = append(changes, cmp.Or(dirs.local(name), name)+" is not as it was")
		}
	}
	if now.Environ != o.Environ {
		names := slices.Compact(slices.Sorted(slices.Values(slices.Concat(o.Variables, now.Variables))))
		changes = append(changes, "the environment: one of "+strings.Join(names, ", "))
	}
	return changes
}

// hostVariables are the variables that a hook gets from the caller.
func hostVariables(environ []string) map[string]string {
	values := map[string]string{}
	for _, kv := range hookEnviron(environ, baseEnv) {
		name, value, _ := strings.Cut(kv, "=")
		values[name] = value
	}
	for _, kv := range baseEnv {
		name, _, _ := strings.Cut(kv, "=")
		delete(values, name)
	}
	return values
}

func notInName(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// contentDigest is that of a file's content, which look sees as well, or of a directory's listing.
func contentDigest(name string, look func([]byte)) (Digest, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		entries, err := os.ReadDir(name)
		if err != nil {
			return "", err
		}
		var names []string
		for _, e := range entries {
			names = append(names, fmt.Sprintf("%q %s", e.Name(), e.Type()))
		}
		return hashOf(names...), nil
	case info.Mode().IsRegular():
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		look(data)
		return hashOf(info.Mode().Perm().String(), string(data)), nil
	default:
		return hashOf(info.Mode().String()), nil
	}
}

// runObserved runs a step and gives what it was seen to use. keep is false if its result must not be kept.
func (x *Executor) runObserved(ctx context.Context, step Step, l link, s *site) (seen *observation, keep bool, err error) {
	o, ok := step.(observable)
	if !ok {
		return nil, true, x.runStep(ctx, step, s)
	}
	dirs := o.hostDirs(s.dir)
	use, watchErr, err := observe(dirs.paths(), x.Cache.Ours, s.tmp, func() error { return x.runStep(ctx, step, s) })
	if err != nil {
		return nil, false, err
	}
	if watchErr == nil && len(use.changed) > 0 {
		watchErr = fmt.Errorf("%s was changed while it ran", use.changed[0])
	}
	if watchErr == nil {
		seen, watchErr = newObservation(use.opened, l, dirs, x.Environ)
	}
	if watchErr != nil {
		x.Log.Info("the result is not kept in the cache", slog.String("step", step.Title()), slog.Any("because", watchErr))
		return nil, false, nil
	}
	return seen, true, nil
}
