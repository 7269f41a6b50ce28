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
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// CheckTargets checks before a build whether snapshots can be pushed to the --cache-to remotes.
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

// push pushes the snapshots of a finished build to a --cache-to remote.
type push struct {
	*Chain
	to Remote
	// image has the time and the platform of each snapshot's image.
	image ociimage.Image
}

// Push pushes the snapshots of a finished build to the --cache-to remotes that lack them. image has the time and the
// platform of their images; stages are the chains of the stages that the build has made.
func (c *Chain) Push(ctx context.Context, image ociimage.Image, stages []*Chain) error {
	var errs []error
	for _, to := range c.store.Settings.To {
		c.store.Progress.Announce(PushTitle(to))
		for _, chain := range append([]*Chain{c}, stages...) {
			if err := (push{chain, to, image}).pushAll(ctx); err != nil {
				errs = append(errs, fmt.Errorf("push snapshots to %s: %w", to, err))
			}
		}
	}
	return errors.Join(errs...)
}

// PushTitle returns the title of the step that pushes the snapshots of a build to a remote.
func PushTitle(to Remote) string { return "push snapshots to " + to.String() }

// pushAll pushes all snapshots of a chain.
func (p push) pushAll(ctx context.Context) error {
	if err := p.pushSteps(ctx); err != nil {
		return err
	}
	for _, name := range p.made {
		if err := p.pushOne(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// pushSteps pushes the snapshots of the chain of steps in order, so that each layer is packed and sent once.
func (p push) pushSteps(ctx context.Context) error {
	var known []ociimage.Layer // of this build, at the remote
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
		there, found, err := p.lookup(ctx, name)
		switch {
		case err != nil:
			return err
		case found && there.Labels[labelLayers] == labels[labelLayers] && len(there.Layers) == n:
			known = knownLayers(there)
			continue
		case found && !p.store.Settings.Rebuild:
			continue // another build's will do
		}
		err = p.pushImage(ctx, name, labels, func(layout *ociimage.Layout) ([]ociimage.Layer, error) {
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

// lookup looks for a snapshot at the remote. One that the key of --cache-key has not signed does not count: its layers
// would become part of what this build signs.
func (p push) lookup(ctx context.Context, name string) (image types.RemoteImage, found bool, err error) {
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

// knownLayers returns the layers of an image for use in another image.
func knownLayers(image types.RemoteImage) []ociimage.Layer {
	var layers []ociimage.Layer
	for _, l := range image.Layers {
		blob := imgspec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
		layers = append(layers, ociimage.Layer{Blob: blob, DiffID: l.DiffID})
	}
	return layers
}

// pack packs the difference of the n-th snapshot from the one below.
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

// shareCompression compresses and decompresses quickly.
var shareCompression = ociimage.Compression{Method: tarfile.Zstd}

// pushOne pushes a snapshot that has none below. It replaces one at the remote, as the name of a cached output does not
// cover all its inputs.
func (p push) pushOne(ctx context.Context, name string) (err error) {
	labels, err := p.store.Engine.Labels(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process has removed it
	}
	if err != nil {
		return err
	}
	there, found, err := p.lookup(ctx, localName(name))
	if err != nil || found && labels[labelLayers] == there.Labels[labelLayers] {
		return err
	}
	labels = maps.Clone(labels)
	delete(labels, labelOrigins) // for others, the remote is the origin
	state, err := p.store.Engine.From(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	return p.pushImage(ctx, localName(name), labels, func(layout *ociimage.Layout) ([]ociimage.Layer, error) {
		layer, err := layout.Pack(ctx, target.Tree(state, state.Root()), shareCompression)
		return []ociimage.Layer{layer}, err
	})
}

// pushImage makes an image of layers and copies it to the remote.
func (p push) pushImage(
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
		Progress:      p.store.Progress.Bytes("push", progress.DirBytes(filepath.Join(dir, ociimage.BlobsDir))),
	})
}
