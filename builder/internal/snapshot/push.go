// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// CheckTargets finds out before the work begins whether snapshots can be put where --cache-to says.
func (store *Store) CheckTargets(ctx context.Context) error {
	var errs []error
	for _, to := range store.Settings.To {
		err := to.checkTarget()
		if err == nil && to.Transport == transport.Docker {
			dst := types.ImageCopy{
				Destination: to.image(NamePrefix + "check"), Environ: store.Environ,
				SkipTLSVerify: store.Settings.SkipTLSVerify,
			}
			err = store.Engine.CheckDestination(ctx, dst)
		}
		if err != nil {
			errs = append(errs, &problem.Problem{Flag: "--cache-to", Err: err})
		}
	}
	return errors.Join(errs...)
}

// push puts snapshots of a finished build to a place of --cache-to.
type push struct {
	*Chain
	to Remote
	// image has what is said of each snapshot's image, but for its labels: the time and the platform.
	image ociimage.Image
}

// Push puts the snapshots of a finished build where --cache-to says, as far as they are not there yet. image has the
// time and the platform that their images have.
func (c *Chain) Push(ctx context.Context, image ociimage.Image) error {
	var errs []error
	for _, to := range c.store.Settings.To {
		if err := (push{c, to, image}).all(ctx); err != nil {
			errs = append(errs, fmt.Errorf("put snapshots to %s: %w", to, err))
		}
	}
	return errors.Join(errs...)
}

func (p push) all(ctx context.Context) error {
	p.store.Say("put snapshots to " + p.to.String())
	if err := p.steps(ctx); err != nil {
		return err
	}
	for _, name := range p.made {
		if err := p.one(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// steps puts the snapshots that the root file system rests on, the first one first, so that layers are packed and sent
// once.
func (p push) steps(ctx context.Context) error {
	var known []ociimage.Layer // of this very build, as far as the place has them
	n := 0
	for i, l := range p.entries {
		if !l.kept {
			continue
		}
		n++
		name := StepPrefix + string(l.Content)
		labels, err := stepLabels(p.entries[:i+1], p.layers[:n], p.seed)
		if err != nil {
			return err
		}
		there, found, err := p.there(ctx, name)
		switch {
		case err != nil:
			return err
		case found && there.Labels[labelLayers] == labels[labelLayers] && len(there.Layers) == n:
			known = knownLayers(there)
			continue
		case found && !p.store.Settings.Rebuild:
			continue // that of another build does as well
		}
		err = p.put(ctx, name, labels, func(layout *ociimage.Layout) ([]ociimage.Layer, error) {
			for len(known) < n {
				layer, err := p.pack(ctx, layout, len(known)+1)
				if err != nil {
					return nil, err
				}
				known = append(known, layer)
			}
			return known, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// there looks for a snapshot at the place. One that the key of --cache-key has not signed is none: its layers would
// otherwise become part of what this build signs.
func (p push) there(ctx context.Context, name string) (image types.RemoteImage, found bool, err error) {
	if p.to.isEmpty() {
		return types.RemoteImage{}, false, nil
	}
	image, err = p.store.inspect(ctx, p.to, name)
	if errors.Is(err, fs.ErrNotExist) {
		return types.RemoteImage{}, false, nil
	}
	if err != nil {
		return types.RemoteImage{}, false, err
	}
	return image, p.store.Settings.Key.check(imageDigest(name, image), signatureOf(image)) == "", nil
}

// knownLayers are the layers of an image as another image can name them.
func knownLayers(image types.RemoteImage) []ociimage.Layer {
	var layers []ociimage.Layer
	for _, l := range image.Layers {
		blob := imgspec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
		layers = append(layers, ociimage.Layer{Blob: blob, DiffID: l.DiffID})
	}
	return layers
}

// pack packs what the n-th snapshot has beyond the one below it.
func (p push) pack(ctx context.Context, layout *ociimage.Layout, n int) (layer ociimage.Layer, err error) {
	upper, err := p.target.Before(ctx, n)
	if err != nil {
		return layer, err
	}
	defer func() { err = errors.Join(err, upper.Close()) }()
	var lower target.Rootfs
	var below diskimage.Tree
	if n > 1 {
		if lower, err = p.target.Before(ctx, n-1); err != nil {
			return layer, err
		}
		defer func() { err = errors.Join(err, lower.Close()) }()
		below = target.Tree(lower, lower.Root())
	}
	return layout.Pack(ctx, ociimage.Difference(below, target.Tree(upper, upper.Root())), shareCompression)
}

// shareCompression is fast in both directions.
var shareCompression = ociimage.Compression{Method: tarfile.Zstd}

// one puts a snapshot that rests on no other, in place of the one that is there: the name of a cached output does not
// say all of it.
func (p push) one(ctx context.Context, name string) (err error) {
	labels, err := p.store.Engine.Labels(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has removed it
	}
	if err != nil {
		return err
	}
	there, found, err := p.there(ctx, ownName(name))
	if err != nil || found && labels[labelLayers] == there.Labels[labelLayers] {
		return err
	}
	labels = maps.Clone(labels)
	delete(labels, labelOrigins) // who reads it there has it from there
	state, err := p.store.Engine.From(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	return p.put(ctx, ownName(name), labels, func(layout *ociimage.Layout) ([]ociimage.Layer, error) {
		layer, err := layout.Pack(ctx, target.Tree(state, state.Root()), shareCompression)
		return []ociimage.Layer{layer}, err
	})
}

// put makes an image of layers and copies it to the place.
func (p push) put(
	ctx context.Context, name string, labels map[string]string, pack func(*ociimage.Layout) ([]ociimage.Layer, error),
) (err error) {
	dir := filepath.Join(p.store.TempDir, "share")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	layout, err := ociimage.Create(dir)
	if err != nil {
		return err
	}
	layers, err := pack(layout)
	if err != nil {
		return err
	}
	for _, layer := range layers {
		layout.Append(layer, "")
	}
	image := p.image
	image.Config.Labels = labels
	config, err := layout.WriteConfig(image)
	if err != nil {
		return err
	}
	made := types.RemoteImage{Config: config.Digest}
	for _, l := range layers {
		made.Layers = append(made.Layers, types.RemoteLayer{
			MediaType: l.Blob.MediaType, Digest: l.Blob.Digest, Size: l.Blob.Size, DiffID: l.DiffID,
		})
	}
	if image.Annotations, err = p.store.Settings.Key.sign(imageDigest(name, made)); err != nil {
		return err
	}
	if _, err := layout.Finish(image); err != nil {
		return err
	}
	if p.to.Transport == transport.OCI {
		return ociimage.Add(ctx, p.to.Path, dir, p.to.tag(name))
	}
	return p.store.Engine.CopyImage(ctx, types.ImageCopy{
		Layout: dir, Destination: p.to.image(name), Environ: p.store.Environ,
		SkipTLSVerify: p.store.Settings.SkipTLSVerify,
	})
}
