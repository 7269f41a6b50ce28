// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Start is where a build begins.
type Start struct {
	// Entries are those of the steps that need not run.
	Entries []Entry
	// Snapshot holds their result; "" if there are none.
	Snapshot string
	// shared is where the snapshot comes from; nil if it is in the store. origins are those of one in the store.
	shared  *sharedSnapshot
	origins origins
	// layers are the names of the snapshot's layers.
	layers []string
	// Seed is where the IDs in the snapshot come from.
	Seed uuid.UUID
}

// Begin finds where to begin with some steps, and returns the root file system that the first step to run works on.
func (store *Store) Begin(ctx context.Context, steps []Step) (Start, target.Rootfs, error) {
	for {
		s, err := store.find(ctx, steps)
		if err != nil {
			return Start{}, nil, fmt.Errorf("look for snapshots: %w", err)
		}
		if s.shared != nil {
			var err error
			s.Snapshot, s.origins, err = store.getSteps(ctx, s)
			switch {
			case ctx.Err() != nil:
				return Start{}, nil, err
			case errors.Is(err, errBaseGone):
				continue
			case err != nil:
				store.refuse(*s.shared, err)
				continue
			}
		}
		var rootfs target.Rootfs
		if s.Snapshot == "" {
			rootfs, err = store.Engine.Scratch(ctx)
		} else if rootfs, err = store.Engine.From(ctx, s.Snapshot); errors.Is(err, fs.ErrNotExist) {
			continue // somebody has removed it, or it was found to be damaged, and is gone now
		}
		if err != nil {
			return Start{}, nil, err
		}
		if err := store.explain(ctx, steps, s); err != nil {
			return Start{}, nil, errors.Join(err, rootfs.Close())
		}
		if s.Snapshot != "" {
			store.Say("go on after: " + s.Entries[len(s.Entries)-1].Title)
		}
		return s, rootfs, nil
	}
}

// find looks for the longest chain of a build's steps that a snapshot holds, here or at a place of --cache-from.
func (store *Store) find(ctx context.Context, steps []Step) (Start, error) {
	s := Start{}
	if store.Settings.Rebuild {
		return s, nil
	}
	var entries []Entry
	var labels map[string]string
	before, shared := firstDigest(store.Settings.Program), looks{}
	for _, step := range steps {
		v, unknown := store.look(step, shared)
		if unknown != nil {
			break
		}
		l, err := newEntry(before, step, v)
		if err != nil {
			return Start{}, err
		}
		if step.Kept() {
			found, shared, err := store.findSnapshot(ctx, entries, &l, step)
			if err != nil {
				return Start{}, err
			}
			if found != nil {
				labels = found.labels
				s.Entries, s.Snapshot, s.origins, s.shared = append(slices.Clone(entries), l), found.name,
					found.origins, shared
				store.recordView(v)
			} else if l.View != nil && len(l.View.Lent) > 0 {
				break // what comes after it depends on what it will be seen to use
			}
		}
		entries = append(entries, l)
		before = l.Digest
	}
	if s.Snapshot == "" {
		return s, nil
	}
	s.layers = strings.Fields(labels[labelLayers])
	var err error
	if s.Seed, err = uuid.Parse(labels[labelSeed]); err != nil {
		return Start{}, fmt.Errorf("snapshot %s: its seed: %w", s.Snapshot, err)
	}
	return s, nil
}

// findSnapshot looks for a snapshot of a step's result that is good here, nil if there is none. The entry takes over
// what the step was seen to use. shared is nil if the snapshot is in the store; else the snapshot has the name that it
// has at the place.
func (store *Store) findSnapshot(ctx context.Context, before []Entry, l *Entry, step Step) (
	s *localSnapshot, shared *sharedSnapshot, err error,
) {
	name := StepPrefix + string(l.Content)
	here, err := store.local(name, step.Title())
	if err != nil {
		return nil, nil, err
	}
	for _, s := range here {
		chain, err := readChain(s.labels)
		if err != nil || len(chain) != len(before)+1 {
			return nil, nil, fmt.Errorf("%s does not tell its chain of steps", s.name)
		}
		if good, err := store.takeOver(ctx, l, chain[len(before)].Observed, step); err != nil || good {
			return &s, nil, err
		}
	}
	for found := range store.shared(ctx, name, step.Title()) {
		chain, err := readChain(found.image.Labels)
		if err != nil || !continues(chain, before, *l) {
			store.refuse(found, errors.New("it is not what its name says"))
			continue
		}
		if good, err := store.takeOver(ctx, l, chain[len(before)].Observed, step); err != nil || good {
			return &localSnapshot{name: name, labels: found.image.Labels}, &found, err
		}
	}
	return nil, nil, ctx.Err()
}

// takeOver has an entry take over what an earlier run of its step was seen to use, and reports whether all of it is
// still the same.
func (store *Store) takeOver(ctx context.Context, l *Entry, o *observation, step Step) (bool, error) {
	if o != nil {
		if changes, err := store.changes(ctx, o, store.dirsOf(step)); err != nil || len(changes) > 0 {
			return false, err
		}
	}
	return true, l.observe(o)
}

// continues reports whether a chain is the entries before and one more, but for what its step was seen to use.
func continues(chain, before []Entry, l Entry) bool {
	return len(chain) == len(before)+1 && chain[len(before)].Content == l.Content &&
		slices.EqualFunc(chain[:len(before)], before, func(a, b Entry) bool { return a.Digest == b.Digest })
}
