// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// stages makes the stages of Containerfiles that the steps of a build use. Each has a chain of digests of its own,
// which begins like that of the build: so its results are kept and found like those.
type stages struct {
	x    *Executor
	plan Plan
	seed uuid.UUID
	// site and chain are those of the build.
	site  *step.Context
	chain *snapshot.Chain
	// snapshots returns a store of snapshots for a chain.
	snapshots func() *snapshot.Store
	made      []Rootfs
	// chains are those of the stages that were made.
	chains []*snapshot.Chain
}

// makeFor makes the stages that a step uses, as far as that has not happened yet.
func (b *stages) makeFor(ctx context.Context, s step.Step) error {
	if b == nil {
		return nil
	}
	missing := map[string]bool{}
	for id := range b.site.Stages {
		missing[id] = true
	}
	for _, stage := range b.plan.stagesOf(s, missing) {
		rootfs, err := b.retry(ctx, stage)
		if err != nil {
			return err
		}
		b.site.Stages[stage.ID] = rootfs
	}
	return nil
}

// retry makes one stage. If another build makes one of the results first, it begins again, from that.
func (b *stages) retry(ctx context.Context, stage PlanStage) (Rootfs, error) {
	for {
		rootfs, err := b.make(ctx, stage)
		if !errors.Is(err, snapshot.ErrMade) {
			return rootfs, err
		}
	}
}

// make makes one stage from the longest chain of its steps that a snapshot holds.
func (b *stages) make(ctx context.Context, stage PlanStage) (_ Rootfs, err error) {
	store := b.snapshots()
	if explain := store.Settings.Explain; explain != nil {
		store.Settings.Explain = func(text string) {
			ours := func(s step.Step) bool { return strings.Contains(text, s.Title()) }
			if slices.ContainsFunc(stage.own(), ours) {
				explain(text)
			}
		}
	}
	defer func() { err = errors.Join(err, store.Unlock()) }()
	identities := snapshotSteps(stage.identities)
	find, rebuild := identities, store.Settings.Rebuild
	if rebuild {
		// What the stage begins with has just been made again by this build.
		find, store.Settings.Rebuild = identities[:len(identities)-stage.Own], false
	}
	begin, rootfs, err := store.Begin(ctx, find)
	store.Settings.Rebuild = rebuild
	if err != nil {
		return nil, err
	}
	b.made = append(b.made, rootfs)
	n := len(begin.Entries)
	for i, s := range stage.Steps[:n] {
		if i >= len(stage.Steps)-stage.Own {
			b.x.Progress.Cached(s.Title())
		}
	}
	chain := store.Resume(begin, rootfs, b.seed)
	chain.IDs, chain.Epoch = b.chain.IDs, b.chain.Epoch
	site := *b.site
	site.Target, site.Outputs = rootfs, outputs{chain}
	if err := b.x.runSteps(ctx, stage.Steps[n:], identities[n:], chain, &site, b, nil); err != nil {
		return nil, err
	}
	b.chains = append(b.chains, chain)
	return rootfs, nil
}

// close deletes the working containers.
func (b *stages) close() error {
	if b == nil {
		return nil
	}
	var errs []error
	for _, c := range b.made {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// cacheMount returns the files of a mount of the type cache. Each run works on a copy of what the last one has kept, so
// that builds need not wait for each other; what the last of them keeps stays.
func (x *Executor) cacheMount(ctx context.Context, id string) (Rootfs, func() error, error) {
	name := snapshot.NamePrefix + "mount:" + string(snapshot.HashOf(id))
	c, err := x.Engine.From(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		c, err = x.Engine.Scratch(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	keep := func() error {
		return c.Snapshot(context.WithoutCancel(ctx), name, snapshot.TitleLabels("files of --mount=type=cache,id="+id))
	}
	return c, keep, nil
}
