package builder

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
)

// Machines share snapshots as images of containers: each snapshot is an image with a layer for each snapshot that it rests
// on and one for itself, tagged with its digest and labelled with what the store labels it. So images share their layers
// as snapshots do, a place needs no index of its own, and one question for a tag tells whether there is a snapshot.
//
// Who can write to such a place decides what is in the images that are built from it.

// sharedSnapshot is a snapshot at a place of --cache-from.
type sharedSnapshot struct {
	from  Remote
	name  string
	image RemoteImage
}

// patience is how long a place may take to answer a question. Layers may take longer.
const patience = 30 * time.Second

// shared looks for a snapshot at the places of --cache-from.
func (x *Executor) shared(ctx context.Context, name string) iter.Seq[sharedSnapshot] {
	return func(yield func(sharedSnapshot) bool) {
		for _, from := range x.Cache.From {
			if x.refused[from] || from.isMissing() && slices.Contains(x.Cache.To, from) {
				continue // the first build that shares there makes it
			}
			image, err := x.inspect(ctx, from, name)
			found := sharedSnapshot{from, name, image}
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				x.refuse(found, err)
				continue
			}
			if !yield(found) {
				return
			}
		}
	}
}

// inspect asks a place for a snapshot.
func (x *Executor) inspect(ctx context.Context, from Remote, name string) (RemoteImage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer in %s", patience))
	defer cancel()
	return x.Engine.InspectImage(ctx, x.imageSource(from, name))
}

func (x *Executor) imageSource(from Remote, name string) ImageSource {
	return ImageSource{Name: from.image(name), Environ: x.Environ, SkipTLSVerify: x.Cache.SkipTLSVerify}
}

// refuse warns of a place, and leaves it alone from then on: a build goes on without it.
func (x *Executor) refuse(s sharedSnapshot, err error) {
	if x.refused == nil {
		x.refused = map[Remote]bool{}
	}
	x.refused[s.from] = true
	x.Log.Info("no use of a shared snapshot", slog.String("name", s.from.image(s.name)), slog.Any("because", err))
	x.Cache.Warn(fmt.Sprintf("--cache-from %s is not used: %v", s.from, err))
}

// getSteps gets the snapshot that a build begins with, and those that it rests on, as far as the store has not the very
// same layers.
func (x *Executor) getSteps(ctx context.Context, s start) error {
	if len(s.layers) != len(s.shared.image.Layers) {
		return fmt.Errorf("%s has %d layers and names %d", s.shared.from.image(s.snapshot), len(s.shared.image.Layers), len(s.layers))
	}
	base := ""
	var wanted []RemoteSnapshot
	for i, l := range s.links {
		if !dear(s.plan.Steps[i]) {
			continue
		}
		n := len(wanted)
		labels, err := stepLabels(s.links[:i+1], s.layers[:min(n+1, len(s.layers))], s.seed)
		if err != nil {
			return err
		}
		wanted = append(wanted, RemoteSnapshot{Name: SnapshotPrefix + string(l.Own), Labels: labels})
	}
	if len(wanted) != len(s.layers) {
		return fmt.Errorf("%s has %d layers for %d steps", s.shared.from.image(s.snapshot), len(s.layers), len(wanted))
	}
	have := 0
	for i, w := range wanted[:len(wanted)-1] {
		labels, err := x.Engine.Labels(w.Name)
		if err == nil && labels[labelLayers] == w.Labels[labelLayers] {
			have, base = i+1, w.Name
		}
	}
	x.Say(fmt.Sprintf("get the result of: %s, from %s", s.links[len(s.links)-1].Title, s.shared.from))
	return x.get(ctx, *s.shared, base, have, wanted[have:])
}

// fromOne gives a root file system on top of a snapshot that rests on no other. If the store has none, it gets the
// snapshot first.
func (x *Executor) fromOne(ctx context.Context, name string) (Rootfs, error) {
	c, err := x.Engine.From(ctx, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if found, getErr := x.getOne(ctx, name); !found {
		return nil, errors.Join(getErr, err)
	}
	return x.Engine.From(ctx, name)
}

// getOne gets a snapshot that rests on no other, and reports whether one was found.
func (x *Executor) getOne(ctx context.Context, name string) (bool, error) {
	for s := range x.shared(ctx, name) {
		err := errors.New("it is not what its name says")
		if len(s.image.Layers) == 1 {
			err = x.get(ctx, s, "", 0, []RemoteSnapshot{{Name: name, Labels: s.image.Labels}})
		}
		if ctx.Err() != nil {
			return false, err
		}
		if err == nil {
			return true, nil
		}
		x.refuse(s, err)
	}
	return false, ctx.Err()
}

// get puts the layers from the one with the number first into the store, as snapshots above base.
func (x *Executor) get(ctx context.Context, s sharedSnapshot, base string, first int, wanted []RemoteSnapshot) (err error) {
	dir, err := os.MkdirTemp(x.TempDir, "layers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	layers := s.image.Layers[first:]
	if err := x.Engine.FetchLayers(ctx, x.imageSource(s.from, s.name), layers, dir); err != nil {
		return err
	}
	for i, l := range layers {
		wanted[i].File, wanted[i].DiffID = filepath.Join(dir, l.Digest.Encoded()), l.DiffID
	}
	err = x.Engine.Import(ctx, base, wanted)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errBaseGone, err)
	}
	return err
}

// errBaseGone says that what a layer was to be put on has been removed meanwhile, or was found to be damaged.
var errBaseGone = errors.New("the snapshot below is gone")
