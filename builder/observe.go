package builder

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
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
	"golang.org/x/sys/unix"
)

// A hook can read every file of its own directory and of the caller's working directory, and the caller's environment.
// Which of them it uses is seen, not guessed: the kernel tells which files are opened while it runs (inotify(7)). A
// snapshot of its result is good for as long as these files are the same, and so are the variables whose names are in
// them. A hook that writes to one of the directories does something that no snapshot can repeat: its result is not kept.

// observable is a step that uses files of the host that are not in its data.
type observable interface {
	// hostDirs are the directories of the host that the step sees when the caller's working directory is dir.
	hostDirs(dir string) []string
}

// observation is what a step used of the host.
type observation struct {
	// Files holds a digest of each file's content and of each listed directory's names.
	Files map[string]Digest `json:"files"`
	// Variables are names of environment variables, and Environ is a hash of their values.
	Variables []string `json:"variables,omitempty"`
	Environ   string   `json:"environ,omitempty"`
}

// newObservation looks at what a step has opened, and for variables that its data or these files name.
func newObservation(opened []string, l link, environ []string) (*observation, error) {
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
	for _, name := range opened {
		digest, err := contentDigest(name, look)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a temporary file of somebody else
		}
		if err != nil {
			return nil, err
		}
		o.Files[name] = digest
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
func (o *observation) changes(l link, environ []string) []string {
	now, err := newObservation(slices.Sorted(maps.Keys(o.Files)), l, environ)
	if err != nil {
		return []string{err.Error()}
	}
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(o.Files)) {
		if now.Files[name] != o.Files[name] {
			changes = append(changes, name+" is not as it was")
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

// mostWatched is how many directories are watched. A step that sees more of them, because somebody builds in a home
// directory, is not worth the wait.
const mostWatched = 8192

// observer watches directories of the host while a step runs.
type observer struct {
	events *os.File
	marks  string
	done   chan struct{}

	// What the reader finds out, to be looked at when done is closed.
	opened  map[string]bool
	trouble error // why nothing can be said of what the step used
}

// observe begins to watch directories and all below them. marks is an empty directory that nobody else uses; ours are
// files that this program itself writes to.
func observe(dirs []string, marks string, ours []string) (_ *observer, err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	o := &observer{events: os.NewFile(uintptr(fd), "inotify"), marks: marks, done: make(chan struct{}), opened: map[string]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.events.Close())
		}
	}()
	watched := map[int32]string{}
	add := func(dir string, mask uint32) error {
		wd, err := unix.InotifyAddWatch(fd, dir, mask|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW)
		if err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
		watched[int32(wd)] = dir
		return nil
	}
	if err := add(marks, unix.IN_CREATE); err != nil {
		return nil, err
	}
	// All are looked for before one is watched: looking opens them.
	var found []string
	for _, top := range dirs {
		err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return ignoreDenied(err)
			}
			if found = append(found, name); len(found) > mostWatched {
				return fmt.Errorf("%s has more than %d directories", top, mostWatched)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, dir := range found {
		if err := ignoreDenied(add(dir, unix.IN_OPEN|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MODIFY|unix.IN_MOVE)); err != nil {
			return nil, err
		}
	}
	go o.read(watched, ours)
	return o, nil
}

// ignoreDenied drops the error of what a hook, with the caller's permissions, cannot see either.
func ignoreDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// read gathers events until there is one in the directory of marks.
func (o *observer) read(watched map[int32]string, ours []string) {
	defer close(o.done)
	buf := make([]byte, 1<<16)
	for {
		n, err := o.events.Read(buf)
		if err != nil {
			o.trouble = fmt.Errorf("watch files: %w", err)
			return
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			// struct inotify_event of inotify(7): wd, mask, cookie, len, name.
			wd, mask := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:])
			length := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			name := filepath.Join(watched[wd], string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:length], "\x00")))
			rest = rest[length:]
			switch {
			case watched[wd] == o.marks && mask&unix.IN_CREATE != 0:
				return
			case mask&unix.IN_Q_OVERFLOW != 0:
				o.trouble = errors.New("it opened too many files of the host to follow")
			case slices.Contains(ours, name):
			case mask&unix.IN_OPEN != 0:
				o.opened[name] = true
			case mask&unix.IN_IGNORED == 0 && o.trouble == nil:
				o.trouble = fmt.Errorf("%s was changed while it ran", name)
			}
		}
	}
}

// finish ends the watch and gives the names of what was opened. The error says why they are not all that matters.
func (o *observer) finish() ([]string, error) {
	if err := os.WriteFile(filepath.Join(o.marks, rand.Text()), nil, 0o600); err != nil {
		return nil, errors.Join(err, o.events.Close())
	}
	<-o.done
	return slices.Sorted(maps.Keys(o.opened)), errors.Join(o.trouble, o.events.Close())
}

// runObserved runs a step and gives what it was seen to use. keep is false if its result must not be kept.
func (x *Executor) runObserved(ctx context.Context, step Step, l link, s *site) (seen *observation, keep bool, err error) {
	o, ok := step.(observable)
	if !ok {
		return nil, true, x.runStep(ctx, step, s)
	}
	marks, err := os.MkdirTemp(s.tmp, "observe-")
	if err != nil {
		return nil, false, err
	}
	watch, watchErr := observe(o.hostDirs(s.dir), marks, x.Cache.Ours)
	if err := x.runStep(ctx, step, s); err != nil {
		if watchErr == nil {
			_, _ = watch.finish()
		}
		return nil, false, err
	}
	var opened []string
	if watchErr == nil {
		opened, watchErr = watch.finish()
	}
	if watchErr == nil {
		seen, watchErr = newObservation(opened, l, x.Environ)
	}
	if watchErr != nil {
		x.Log.Info("the result is not kept in the cache", slog.String("step", step.Title()), slog.Any("because", watchErr))
		return nil, false, nil
	}
	return seen, true, nil
}
