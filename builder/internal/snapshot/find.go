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

// Start is the point from which a build continues.
type Start struct {
	// Entries describe the steps that need not run.
	Entries []Entry
	// Snapshot holds their result; "" if there are none.
	Snapshot string
	// shared is the snapshot at a remote; nil if it is in the store. origins are the origins of one in the store.
	shared  *sharedSnapshot
	origins origins
	// layers are the names of the snapshot's layers.
	layers []string
	// Seed is the seed of the IDs in the snapshot.
	Seed uuid.UUID
	// next is the entry of the next step whose result is kept; without a digest if there is none, or it is unknown.
	next Entry
}

// Begin finds the longest chain of the steps that a snapshot holds, and returns the root file system for the next step.
// If another build is making the next snapshot, Begin waits for that; otherwise other builds wait for this one.
func (store *Store) Begin(ctx context.Context, steps []Step) (Start, target.Rootfs, error) {
	for {
		s, err := store.find(ctx, steps)
		if err != nil {
			return Start{}, nil, fmt.Errorf("look for snapshots: %w", err)
		}
		if s.next.Content != "" {
			again, err := store.lock(ctx, StepPrefix+string(s.next.Content), s.next.Title)
			if err != nil {
				return Start{}, nil, fmt.Errorf("look for snapshots: %w", err)
			}
			if again {
				continue
			}
		}
		if s.shared != nil {
			var err error
			s.Snapshot, s.origins, err = store.pullSteps(ctx, s)
			switch {
			case ctx.Err() != nil:
				return Start{}, nil, err
			case errors.Is(err, errBaseGone):
				continue
			case err != nil:
				store.skipRemote(*s.shared, err)
				continue
			}
		}
		var rootfs target.Rootfs
		if s.Snapshot == "" {
			rootfs, err = store.Engine.Scratch(ctx)
		} else if rootfs, err = store.Engine.From(ctx, s.Snapshot); errors.Is(err, fs.ErrNotExist) {
			continue // removed by another process, or because it was damaged
		}
		if err != nil {
			return Start{}, nil, err
		}
		if err := store.explain(ctx, steps, s); err != nil {
			return Start{}, nil, errors.Join(err, rootfs.Close())
		}
		if s.Snapshot != "" {
			store.Progress.Message("continue after: " + s.Entries[len(s.Entries)-1].Title)
		}
		return s, rootfs, nil
	}
}

// find returns the longest chain of a build's steps that a snapshot holds, in the store or at a --cache-from remote.
func (store *Store) find(ctx context.Context, steps []Step) (Start, error) {
	s := Start{}
	if store.Settings.Rebuild {
		return s, nil
	}
	var entries []Entry
	var labels map[string]string
	before, shared := store.firstDigest(), listings{}
	for _, step := range steps {
		v, unknown := store.viewOf(step, shared)
		if unknown != nil {
			break
		}
		l, err := store.newEntry(before, step, v)
		if err != nil {
			return Start{}, err
		}
		if step.Kept() {
			found, shared, err := store.findSnapshot(ctx, entries, &l, step)
			if err != nil {
				return Start{}, err
			}
			if found != nil {
				labels, s.next = found.labels, Entry{}
				s.Entries, s.Snapshot, s.origins, s.shared = append(slices.Clone(entries), l), found.name,
					found.origins, shared
				store.recordView(v)
			} else {
				if s.next.Content == "" {
					s.next = l
				}
				if l.View != nil && len(l.View.Shared) > 0 {
					break // later digests depend on what it will be seen to use
				}
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
		return Start{}, fmt.Errorf("snapshot %s: seed: %w", s.Snapshot, err)
	}
	return s, nil
}

// findSnapshot returns a usable snapshot of a step's result, nil if there is none. It sets what the step was
// seen to use in the entry. shared is nil if the snapshot is in the store; otherwise the snapshot has the
// name that it has at the remote.
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
			return nil, nil, fmt.Errorf("%s has no valid chain of steps", s.name)
		}
		if good, err := store.takeOver(ctx, l, chain[len(before)].Observed, step); err != nil || good {
			return &s, nil, err
		}
	}
	for found := range store.shared(ctx, name, step.Title()) {
		chain, err := readChain(found.image.Labels)
		if err != nil || !continues(chain, before, *l) {
			store.skipRemote(found, errors.New("its content does not match its name"))
			continue
		}
		if good, err := store.takeOver(ctx, l, chain[len(before)].Observed, step); err != nil || good {
			return &localSnapshot{name: name, labels: found.image.Labels}, &found, err
		}
	}
	return nil, nil, ctx.Err()
}

// takeOver sets in an entry what an earlier run of its step was seen to use, and reports whether that is unchanged.
func (store *Store) takeOver(ctx context.Context, l *Entry, o *observation, step Step) (bool, error) {
	if o != nil {
		if changes, err := store.changes(ctx, o, store.dirsOf(step)); err != nil || len(changes) > 0 {
			return false, err
		}
	}
	return true, l.observe(o)
}

// continues reports whether a chain is the entries before and l, except for what the step of l was seen to use.
func continues(chain, before []Entry, l Entry) bool {
	return len(chain) == len(before)+1 && chain[len(before)].Content == l.Content &&
		slices.EqualFunc(chain[:len(before)], before, func(a, b Entry) bool { return a.Digest == b.Digest })
}
