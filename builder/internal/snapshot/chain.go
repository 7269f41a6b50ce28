// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Chain is the chain of steps that made a root file system, as far as it is known to the cache.
type Chain struct {
	store   *Store
	target  target.Rootfs
	entries []Entry
	// layers are the names of the layers of the snapshots that the target rests on.
	layers []string
	// seed is where the IDs in the target come from.
	seed uuid.UUID
	// ended: nothing is kept that comes after a result that is not.
	ended bool
	// origins are those of all that the target is made of.
	origins origins
	// made are the names of the cached outputs in the target.
	made []string
	// IDs are the IDs of the image, as texts of the target name them.
	IDs []string
	// Epoch is the time that the build records, if it is fixed.
	Epoch time.Time
}

// Resume returns the chain of a root file system that begin has returned.
func (store *Store) Resume(s Start, target target.Rootfs, seed uuid.UUID) *Chain {
	return &Chain{
		store: store, target: target, entries: slices.Clone(s.Entries), layers: slices.Clone(s.layers), seed: seed,
		origins: s.origins,
	}
}

// Snapshots is the number of snapshots that the target rests on.
func (c *Chain) Snapshots() int { return len(c.layers) }

// Run runs the next step, and makes a snapshot of the target if the step's result is kept. The step is what digests are
// made of: it has no random IDs in it.
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

// runEntry runs a step and returns its entry. unkept says why the result must not be kept.
func (c *Chain) runEntry(ctx context.Context, step Step, run func() error) (l Entry, unkept, err error) {
	before := firstDigest(c.store.Settings.Program)
	if len(c.entries) > 0 {
		before = c.entries[len(c.entries)-1].Digest
	}
	v, unkept := c.store.look(step, nil)
	if v == nil || unkept != nil {
		if err := run(); err != nil || unkept != nil {
			return l, unkept, err
		}
		l, err = newEntry(before, step, nil)
		return l, nil, err
	}
	if l, err = newEntry(before, step, v); err != nil {
		return l, nil, err
	}
	c.store.recordView(v)
	if len(v.Lent) == 0 {
		return l, nil, run()
	}
	seen, unkept, err := c.store.runObserved(ctx, step, v, run)
	if err != nil || unkept != nil {
		return l, unkept, err
	}
	return l, nil, l.observe(seen)
}

// keep makes a snapshot of the target, with the origins of what it rests on.
func (c *Chain) keep(ctx context.Context) error {
	labels, err := stepLabels(c.entries, c.layers, c.seed)
	if err != nil {
		return err
	}
	name, labels := c.origins.mark(StepPrefix+string(c.entries[len(c.entries)-1].Content), labels)
	return c.target.Snapshot(ctx, name, labels)
}
