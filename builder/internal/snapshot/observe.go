// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// The kernel reports which files are opened while a step runs (inotify(7)). A snapshot of its result is valid while
// their contents and the step's view are unchanged. A snapshot cannot repeat a hook's writes to one of the directories,
// so the result of such a hook is not kept.

// observation is what a step was seen to use of the host.
type observation struct {
	// Files holds a digest of each file's content, by portable names.
	Files map[string]Digest `json:"files"`
}

// newObservation returns the digests of the files in its view that a step has opened.
func (store *Store) newObservation(
	ctx context.Context, opened []string, v *view, dirs target.SharedDirs,
) (*observation, error) {
	o := &observation{Files: map[string]Digest{}}
	for _, name := range opened {
		e, found := v.entry(name)
		if !found || e.isDir() { // names are in the view
			continue
		}
		if e.mode&unix.S_IFMT != unix.S_IFREG {
			return nil, fmt.Errorf("it opened %s, which is not a regular file", name)
		}
		digest, err := store.contents.digest(ctx, name)
		if err != nil {
			return nil, err
		}
		o.Files[dirs.Portable(name)] = digest
	}
	return o, nil
}

// changes describes the files that have changed.
func (store *Store) changes(ctx context.Context, o *observation, dirs target.SharedDirs) ([]string, error) {
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(o.Files)) {
		local := dirs.Local(name)
		if local == "" {
			changes = append(changes, name+" is missing")
			continue
		}
		digest, err := store.contents.digest(ctx, local)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotRegular) {
			return nil, err
		}
		if err != nil || digest != o.Files[name] {
			changes = append(changes, local+" has changed")
		}
	}
	return changes, nil
}

// runObserved runs a step that has a view, and returns what it was seen to use. unkept is the reason not to keep the
// result.
func (store *Store) runObserved(
	ctx context.Context, step Step, v *view, run func() error,
) (seen *observation, unkept, err error) {
	use, unkept, err := observe(v.directories(), store.TempDir, run)
	if err != nil || unkept != nil {
		return nil, unkept, err
	}
	for _, name := range use.changed {
		if !v.ignores(name, store.own()) && !v.unnamed(name) {
			return nil, fmt.Errorf("%s was changed while it ran", name), nil
		}
	}
	name, unkept := v.changed(store, step)
	if name != "" {
		unkept = fmt.Errorf("%s was changed while it ran", name)
	}
	if unkept != nil {
		return nil, unkept, nil
	}
	seen, unkept = store.newObservation(ctx, use.opened, v, store.dirsOf(step))
	return seen, unkept, ctx.Err()
}

// notKept reports why the result of a step is not kept.
func (store *Store) notKept(step Step, why error) {
	store.Log.Info("the result is not kept in the cache", slog.String("step", step.Title()), slog.Any("because", why))
	store.report(fmt.Sprintf("not kept: %s: %v", step.Title(), why))
}
