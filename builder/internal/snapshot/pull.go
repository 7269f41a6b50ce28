// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Machines share snapshots as images of containers: each snapshot is an image with a layer for each snapshot that it
// rests on and one for itself, tagged with its digest and labelled with what the store labels it. So images share their
// layers as snapshots do, a place needs no index of its own, and one question for a tag tells whether there is a
// snapshot.
//
// Who can write to such a place decides what is in the images that are built from it; see origin.go for who else gets
// them.

// sharedSnapshot is a snapshot at a place of --cache-from.
type sharedSnapshot struct {
	from   Remote
	name   string
	image  types.RemoteImage
	origin origin
}

// patience is how long a place may take to answer a question. Layers may take longer.
const patience = 30 * time.Second

// shared looks for a snapshot at the places of --cache-from. title is what people read of it.
func (store *Store) shared(ctx context.Context, name, title string) iter.Seq[sharedSnapshot] {
	return func(yield func(sharedSnapshot) bool) {
		for _, from := range store.Settings.From {
			if store.refused[from] || from.isEmpty() && slices.Contains(store.Settings.To, from) {
				continue // the first build that shares there makes it
			}
			image, err := store.inspect(ctx, from, name)
			found := sharedSnapshot{from, name, image, store.origin(from, name, image)}
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				store.refuse(found, err)
				continue
			}
			if why := store.distrust(origins{found.origin}); why != "" {
				store.unused(title, why)
				continue
			}
			if !yield(found) {
				return
			}
		}
	}
}

// inspect asks a place for a snapshot.
func (store *Store) inspect(ctx context.Context, from Remote, name string) (types.RemoteImage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer in %s", patience))
	defer cancel()
	return store.Engine.InspectImage(ctx, store.imageSource(from, name))
}

func (store *Store) imageSource(from Remote, name string) types.ImageSource {
	return types.ImageSource{Name: from.image(name), Environ: store.Environ,
		SkipTLSVerify: store.Settings.SkipTLSVerify}
}

// refuse warns of a place, and leaves it alone from then on: a build goes on without it.
func (store *Store) refuse(s sharedSnapshot, err error) {
	if store.refused == nil {
		store.refused = map[Remote]bool{}
	}
	store.refused[s.from] = true
	store.Log.Info("no use of a shared snapshot", slog.String("name", s.from.image(s.name)), slog.Any("because", err))
	store.Settings.Warn(fmt.Sprintf("--cache-from %s is not used: %v", s.from, err))
}

// getSteps gets the snapshot that a build begins with, and those that it rests on, as far as the store has not the very
// same layers. It gives the name and the origins that the snapshot has in the store.
func (store *Store) getSteps(ctx context.Context, s Start) (string, origins, error) {
	if len(s.layers) != len(s.shared.image.Layers) {
		image := s.shared.from.image(s.Snapshot)
		return "", nil, fmt.Errorf("%s has %d layers and names %d", image, len(s.shared.image.Layers), len(s.layers))
	}
	var wanted []types.PackedSnapshot
	for i, l := range s.Entries {
		if !l.kept {
			continue
		}
		n := len(wanted)
		labels, err := stepLabels(s.Entries[:i+1], s.layers[:min(n+1, len(s.layers))], s.Seed)
		if err != nil {
			return "", nil, err
		}
		wanted = append(wanted, types.PackedSnapshot{Name: StepPrefix + string(l.Content), Labels: labels})
	}
	if len(wanted) != len(s.layers) {
		image := s.shared.from.image(s.Snapshot)
		return "", nil, fmt.Errorf("%s has %d layers for %d steps", image, len(s.layers), len(wanted))
	}
	have, base := 0, localSnapshot{}
	for i, w := range wanted[:len(wanted)-1] {
		here, err := store.local(w.Name, s.Entries[0].Title)
		if err != nil {
			return "", nil, err
		}
		same := func(l localSnapshot) bool { return l.labels[labelLayers] == w.Labels[labelLayers] }
		if n := slices.IndexFunc(here, same); n >= 0 {
			have, base = i+1, here[n]
		}
	}
	all := base.origins.with(s.shared.origin)
	for i, w := range wanted {
		wanted[i].Name, wanted[i].Labels = all.mark(w.Name, w.Labels)
	}
	store.Say(fmt.Sprintf("get the result of: %s, from %s", s.Entries[len(s.Entries)-1].Title, s.shared.from))
	return wanted[len(wanted)-1].Name, all, store.get(ctx, *s.shared, base.name, have, wanted[have:])
}

// fromOne gives a root file system on top of a snapshot that rests on no other, with the snapshot's origins. If the
// store has none, it gets the snapshot first. title is what people read of it.
func (store *Store) fromOne(ctx context.Context, name, title string) (target.Rootfs, origins, error) {
	here, err := store.local(name, title)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range here {
		c, err := store.Engine.From(ctx, s.name)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, s.origins, err
		}
	}
	got, o, err := store.getOne(ctx, name, title)
	if err != nil {
		return nil, nil, err
	}
	c, err := store.Engine.From(ctx, got)
	return c, o, err
}

// getOne gets a snapshot that rests on no other, and gives its name in the store and its origins. The error wraps
// fs.ErrNotExist if no place has one.
func (store *Store) getOne(ctx context.Context, name, title string) (string, origins, error) {
	for s := range store.shared(ctx, name, title) {
		o := origins{s.origin}
		got, labels := o.mark(name, map[string]string{labelTitle: title, labelLayers: s.image.Labels[labelLayers]})
		err := errors.New("it is not what its name says")
		if len(s.image.Layers) == 1 {
			err = store.get(ctx, s, "", 0, []types.PackedSnapshot{{Name: got, Labels: labels}})
		}
		if ctx.Err() != nil {
			return "", nil, err
		}
		if err == nil {
			return got, o, nil
		}
		store.refuse(s, err)
	}
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	return "", nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// get puts the layers from the one with the number first into the store, as snapshots above base.
func (store *Store) get(
	ctx context.Context, s sharedSnapshot, base string, first int, wanted []types.PackedSnapshot,
) (err error) {
	dir, err := os.MkdirTemp(store.TempDir, "layers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	layers := s.image.Layers[first:]
	if err := store.Engine.FetchLayers(ctx, store.imageSource(s.from, s.name), layers, dir); err != nil {
		return err
	}
	for i, l := range layers {
		wanted[i].File, wanted[i].DiffID = filepath.Join(dir, l.Digest.Encoded()), l.DiffID
	}
	err = store.Engine.Import(ctx, base, wanted)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errBaseGone, err)
	}
	return err
}

// errBaseGone says that what a layer was to be put on has been removed meanwhile, or was found to be damaged.
var errBaseGone = errors.New("the snapshot below is gone")
