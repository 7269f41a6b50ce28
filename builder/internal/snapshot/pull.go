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
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Machines share snapshots as container images. The image of a snapshot has one layer for each snapshot below
// and one for itself, is tagged with its digest, and has its labels. So images share layers as snapshots do,
// a remote needs no index of its own, and one request for a tag shows whether a snapshot exists.
//
// Whoever can write to a remote decides what is in the images that are built from it; origin.go limits who else uses
// them.

// sharedSnapshot is a snapshot at a --cache-from remote.
type sharedSnapshot struct {
	from   Remote
	name   string
	image  types.RemoteImage
	origin origin
}

// inspectTimeout limits the time of a request. Layers may take longer.
const inspectTimeout = 30 * time.Second

// shared yields the usable snapshots with a name at the --cache-from remotes. title describes the step to users.
func (store *Store) shared(ctx context.Context, name, title string) iter.Seq[sharedSnapshot] {
	return func(yield func(sharedSnapshot) bool) {
		for _, from := range store.Settings.From {
			if store.skipped[from] || from.isEmpty() && slices.Contains(store.Settings.To, from) {
				continue // --cache-to of this build makes it
			}
			image, err := store.inspect(ctx, from, name)
			found := sharedSnapshot{from, name, image, store.origin(from, name, image)}
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				store.skipRemote(found, err)
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

// inspect requests a snapshot's image from a remote.
func (store *Store) inspect(ctx context.Context, from Remote, name string) (types.RemoteImage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, inspectTimeout, fmt.Errorf("no response within %s", inspectTimeout))
	defer cancel()
	return store.Engine.InspectImage(ctx, store.imageSource(from, name))
}

// imageSource returns the image of a snapshot at a remote.
func (store *Store) imageSource(from Remote, name string) types.ImageSource {
	return types.ImageSource{Name: from.image(name), Environ: store.Environ,
		SkipTLSVerify: store.Settings.SkipTLSVerify}
}

// skipRemote warns about a remote and skips it for the rest of the build, which continues without it.
func (store *Store) skipRemote(s sharedSnapshot, err error) {
	if store.skipped == nil {
		store.skipped = map[Remote]bool{}
	}
	store.skipped[s.from] = true
	store.Log.Info("not using the shared snapshot", slog.String("name", s.from.image(s.name)), slog.Any("because", err))
	store.Settings.Warn(fmt.Sprintf("--cache-from %s is not used: %v", s.from, err))
}

// pullSteps pulls the snapshot from which a build continues, and those below it unless the store has the same
// layers. It returns the name and the origins of the snapshot in the store.
func (store *Store) pullSteps(ctx context.Context, s Start) (string, origins, error) {
	if len(s.layers) != len(s.shared.image.Layers) {
		image := s.shared.from.image(s.Snapshot)
		return "", nil, fmt.Errorf("%s has %d layers, but its labels name %d", image, len(s.shared.image.Layers),
			len(s.layers))
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
	title := s.Entries[len(s.Entries)-1].Title
	store.Progress.Message(fmt.Sprintf("pull the result of: %s, from %s", title, s.shared.from))
	return wanted[len(wanted)-1].Name, all, store.pull(ctx, *s.shared, base.name, have, wanted[have:])
}

// fromOne returns a root file system on top of a snapshot that has none below, and the snapshot's origins. If the store
// lacks the snapshot, fromOne pulls it first. title describes it to users.
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
	got, o, err := store.pullOne(ctx, name, title)
	if err != nil {
		return nil, nil, err
	}
	c, err := store.Engine.From(ctx, got)
	return c, o, err
}

// pullOne pulls a snapshot that has none below, and returns its name in the store and its origins. The error wraps
// fs.ErrNotExist if no remote has one.
func (store *Store) pullOne(ctx context.Context, name, title string) (string, origins, error) {
	for s := range store.shared(ctx, name, title) {
		o := origins{s.origin}
		got, labels := o.mark(name, map[string]string{labelTitle: title, labelLayers: s.image.Labels[labelLayers]})
		err := errors.New("its content does not match its name")
		if len(s.image.Layers) == 1 {
			err = store.pull(ctx, s, "", 0, []types.PackedSnapshot{{Name: got, Labels: labels}})
		}
		if ctx.Err() != nil {
			return "", nil, err
		}
		if err == nil {
			return got, o, nil
		}
		store.skipRemote(s, err)
	}
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	return "", nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// pull imports the layers from number first on into the store, as snapshots above base.
func (store *Store) pull(
	ctx context.Context, s sharedSnapshot, base string, first int, wanted []types.PackedSnapshot,
) (err error) {
	dir, err := os.MkdirTemp(store.TempDir, "layers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	layers := s.image.Layers[first:]
	var total int64
	for _, l := range layers {
		total += l.Size
	}
	stop := store.Progress.Sample("pull", total, progress.Bytes, func() int64 { return progress.DirBytes(dir) })
	err = store.Engine.FetchLayers(ctx, store.imageSource(s.from, s.name), layers, dir)
	stop()
	if err != nil {
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

// errBaseGone says that the snapshot below a layer has been removed meanwhile, or because it was damaged.
var errBaseGone = errors.New("the snapshot below is gone")
