// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Chain is the chain of steps that made a root file system, as far as the cache knows it.
type Chain struct {
	store   *Store
	target  target.Rootfs
	entries []Entry
	// layers are the names of the layers of the snapshots below the target.
	layers []string
	// last is the name of the last of them.
	last string
	// seed is the seed of the IDs in the target.
	seed uuid.UUID
	// ended is set after a result that is not kept: no later one is kept either.
	ended bool
	// origins are the origins of everything in the target.
	origins origins
	// made are the names of the cached outputs in the target.
	made []string
	// index has digests of files of the target.
	index *digestIndex
	// IDs are the IDs of the image as they appear in texts of the target.
	IDs []string
	// Epoch is the fixed time of the build; zero if there is none.
	Epoch time.Time
	// Early, if not nil, waits for a run of the program of the next outputs in a copy of the target, whose packages are
	// those of the target now, and returns it. The error says why there is none.
	Early func(ctx context.Context) (*EarlyRun, error)
}

// Resume returns the chain of a root file system that Begin has returned.
func (store *Store) Resume(s Start, target target.Rootfs, seed uuid.UUID) *Chain {
	return &Chain{
		store: store, target: target, entries: slices.Clone(s.Entries), layers: slices.Clone(s.layers), seed: seed,
		origins: s.origins, last: s.Snapshot, index: &store.inputs,
	}
}

// Snapshots returns the number of snapshots below the target.
func (c *Chain) Snapshots() int { return len(c.layers) }

// ErrMade reports that another build has made the result of a step while this one was waiting to make it: it can
// continue from there, with Begin.
var ErrMade = errors.New("another build has made the result")

// Run calls run for the next step, and makes a snapshot of the target if the step's result is kept. The digest depends
// on step, which must not contain random IDs. The error is ErrMade if another build has made the result just now.
func (c *Chain) Run(ctx context.Context, step Step, run func() error) error {
	if c.ended {
		return run()
	}
	l, unkept, err := c.runEntry(ctx, step, run)
	if err != nil {
		return err
	}
	if unkept != nil {
		c.store.notKept(step, unkept)
		c.ended = true
		return nil
	}
	c.entries = append(c.entries, l)
	if !l.kept {
		return nil
	}
	c.layers = append(c.layers, rand.Text())
	return c.keep(ctx)
}

// runEntry runs a step and returns its entry. unkept is the reason not to keep the result.
func (c *Chain) runEntry(ctx context.Context, step Step, run func() error) (l Entry, unkept, err error) {
	before := c.store.firstDigest()
	if len(c.entries) > 0 {
		before = c.entries[len(c.entries)-1].Digest
	}
	v, unkept := c.store.viewOf(step, nil)
	if unkept != nil {
		return l, unkept, run()
	}
	if v == nil {
		if l, err = c.store.newEntry(before, step, nil); err == nil {
			err = c.lock(ctx, l, step)
		}
		if err == nil {
			err = run()
		}
		return l, nil, err
	}
	if l, err = c.store.newEntry(before, step, v); err != nil {
		return l, nil, err
	}
	if err := c.lock(ctx, l, step); err != nil {
		return l, nil, err
	}
	c.store.recordView(v)
	if len(v.Shared) == 0 {
		return l, nil, run()
	}
	seen, unkept, err := c.store.runObserved(ctx, step, v, run)
	if err != nil || unkept != nil {
		return l, unkept, err
	}
	return l, nil, l.observe(seen)
}

// lock locks the result of a step, if it is kept: other builds wait for it. It returns ErrMade if another build has
// just made it.
func (c *Chain) lock(ctx context.Context, l Entry, step Step) error {
	if !l.kept {
		return nil
	}
	again, err := c.store.lock(ctx, StepPrefix+string(l.Content), l.Title)
	if err != nil || !again {
		return err
	}
	found, _, err := c.store.findSnapshot(ctx, c.entries, &l, step)
	if found != nil {
		err = ErrMade
	}
	return err
}

// keep makes a snapshot of the target, with its origins.
func (c *Chain) keep(ctx context.Context) error {
	labels, err := stepLabels(c.entries, c.layers, c.seed)
	if err != nil {
		return err
	}
	name, labels := c.origins.mark(StepPrefix+string(c.entries[len(c.entries)-1].Content), labels)
	c.last = name
	return errors.Join(c.target.Snapshot(ctx, name, labels), c.store.Unlock())
}
