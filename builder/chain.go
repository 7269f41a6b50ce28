package builder

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// snapshotChain is the chain of steps that made a root file system, as far as it is known to the cache.
type snapshotChain struct {
	store  *snapshotStore
	target target.Rootfs
	links  []link
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
	// ids are the IDs of the image, as texts of the target name them.
	ids []string
	// epoch is the time that the build records, if it is fixed.
	epoch time.Time
}

// resume returns the chain of a root file system that begin has returned.
func (store *snapshotStore) resume(s start, target target.Rootfs, seed uuid.UUID) *snapshotChain {
	return &snapshotChain{
		store: store, target: target, links: slices.Clone(s.links), layers: slices.Clone(s.layers), seed: seed,
		origins: s.origins,
	}
}

// Snapshots is the number of snapshots that the target rests on.
func (c *snapshotChain) Snapshots() int { return len(c.layers) }

// run runs the next step, and makes a snapshot of the target if the step's result is kept. The step is what digests are
// made of: it has no random IDs in it.
func (c *snapshotChain) run(ctx context.Context, step snapshotStep, run func() error) error {
	if c.ended {
		return run()
	}
	l, unkept, err := c.runLink(ctx, step, run)
	if err != nil {
		return err
	}
	if unkept != nil {
		c.store.notKept(step, unkept)
		c.ended = true
		return nil
	}
	c.links = append(c.links, l)
	if !l.kept {
		return nil
	}
	c.layers = append(c.layers, rand.Text())
	return c.keep(ctx)
}

// runLink runs a step and returns its link. unkept says why the result must not be kept.
func (c *snapshotChain) runLink(ctx context.Context, step snapshotStep, run func() error) (l link, unkept, err error) {
	before := firstDigest(c.store.Cache.Program)
	if len(c.links) > 0 {
		before = c.links[len(c.links)-1].Digest
	}
	v, unkept := c.store.look(step, nil)
	if v == nil || unkept != nil {
		if err := run(); err != nil || unkept != nil {
			return l, unkept, err
		}
		l, err = newLink(before, step, nil)
		return l, nil, err
	}
	if l, err = newLink(before, step, v); err != nil {
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
func (c *snapshotChain) keep(ctx context.Context) error {
	labels, err := stepLabels(c.links, c.layers, c.seed)
	if err != nil {
		return err
	}
	name, labels := c.origins.mark(SnapshotPrefix+string(c.links[len(c.links)-1].Own), labels)
	return c.target.Snapshot(ctx, name, labels)
}
