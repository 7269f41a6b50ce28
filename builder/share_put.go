package builder

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
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// CheckShares finds out before the work begins whether snapshots can be put where --cache-to says.
func (x *Executor) CheckShares(ctx context.Context) error {
	var errs []error
	for _, to := range x.Cache.To {
		err := to.checkTarget()
		if err == nil && to.Transport == exportDocker {
			dst := types.ImageCopy{Destination: to.image(namePrefix + "check"), Environ: x.Environ, SkipTLSVerify: x.Cache.SkipTLSVerify}
			err = x.Engine.CheckDestination(ctx, dst)
		}
		if err != nil {
			errs = append(errs, &problem.Problem{Flag: "--cache-to", Err: err})
		}
	}
	return errors.Join(errs...)
}

// Share puts the snapshots of a finished build where --cache-to says, as far as they are not there yet.
func (r *Result) Share(ctx context.Context) error {
	var errs []error
	for _, to := range r.x.Cache.To {
		if err := r.shareTo(ctx, to); err != nil {
			errs = append(errs, fmt.Errorf("put snapshots to %s: %w", to, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Result) shareTo(ctx context.Context, to Remote) error {
	r.x.Say("put snapshots to " + to.String())
	if err := r.shareSteps(ctx, to); err != nil {
		return err
	}
	for _, name := range r.outputs.made {
		if err := r.shareOne(ctx, to, name); err != nil {
			return err
		}
	}
	return nil
}

// shareSteps puts the snapshots that the root file system rests on to a place, the first one first, so that layers are
// packed and sent once.
func (r *Result) shareSteps(ctx context.Context, to Remote) error {
	var known []ociimage.Layer // of this very build, as far as the place has them
	n := 0
	for i, l := range r.kept.links {
		if !r.Plan.Steps[i].Kept() {
			continue
		}
		n++
		name := SnapshotPrefix + string(l.Own)
		labels, err := stepLabels(r.kept.links[:i+1], r.kept.layers[:n], r.kept.seed)
		if err != nil {
			return err
		}
		there, found, err := r.there(ctx, to, name)
		switch {
		case err != nil:
			return err
		case found && there.Labels[labelLayers] == labels[labelLayers] && len(there.Layers) == n:
			known = knownLayers(there)
			continue
		case found && !r.x.Cache.Rebuild:
			continue // that of another build does as well
		}
		err = r.put(ctx, to, name, labels, func(layout *ociimage.Layout) ([]ociimage.Layer, error) {
			for len(known) < n {
				layer, err := r.packStep(ctx, layout, len(known)+1)
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

// there looks for a snapshot at a place of --cache-to. One that the key of --cache-key has not signed is none: its layers would
// otherwise become part of what this build signs.
func (r *Result) there(ctx context.Context, to Remote, name string) (image types.RemoteImage, found bool, err error) {
	if to.isEmpty() {
		return types.RemoteImage{}, false, nil
	}
	image, err = r.x.inspect(ctx, to, name)
	if errors.Is(err, fs.ErrNotExist) {
		return types.RemoteImage{}, false, nil
	}
	if err != nil {
		return types.RemoteImage{}, false, err
	}
	return image, r.x.Cache.Key.check(imageDigest(name, image), signatureOf(image)) == "", nil
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

// packStep packs what the n-th snapshot has beyond the one below it.
func (r *Result) packStep(ctx context.Context, layout *ociimage.Layout, n int) (layer ociimage.Layer, err error) {
	upper, err := r.Rootfs.Before(ctx, n)
	if err != nil {
		return layer, err
	}
	defer func() { err = errors.Join(err, upper.Close()) }()
	var lower Rootfs
	var below diskimage.Tree
	if n > 1 {
		if lower, err = r.Rootfs.Before(ctx, n-1); err != nil {
			return layer, err
		}
		defer func() { err = errors.Join(err, lower.Close()) }()
		below = target.Tree(lower, lower.Root())
	}
	return layout.Pack(ctx, ociimage.Difference(below, target.Tree(upper, upper.Root())), shareCompression)
}

// shareCompression is fast in both directions.
var shareCompression = ociimage.Compression{Method: tarfile.Zstd}

// shareOne puts a snapshot that rests on no other to a place, in place of the one that is there: an artefact's name does not say
// all of it.
func (r *Result) shareOne(ctx context.Context, to Remote, name string) (err error) {
	labels, err := r.x.Engine.Labels(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has removed it
	}
	if err != nil {
		return err
	}
	there, found, err := r.there(ctx, to, ownName(name))
	if err != nil || found && labels[labelLayers] == there.Labels[labelLayers] {
		return err
	}
	labels = maps.Clone(labels)
	delete(labels, labelOrigins) // who reads it there has it from there
	state, err := r.x.Engine.From(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	return r.put(ctx, to, ownName(name), labels, func(layout *ociimage.Layout) ([]ociimage.Layer, error) {
		layer, err := layout.Pack(ctx, target.Tree(state, state.Root()), shareCompression)
		return []ociimage.Layer{layer}, err
	})
}

// put makes an image of layers and copies it to a place.
func (r *Result) put(ctx context.Context, to Remote, name string, labels map[string]string, pack func(*ociimage.Layout) ([]ociimage.Layer, error)) (err error) {
	dir := filepath.Join(r.x.TempDir, "share")
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
	image := ociimage.Image{Created: r.lock.Time, Platform: platform(r.spec.Arch()), Config: imgspec.ImageConfig{Labels: labels}}
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
	if image.Annotations, err = r.x.Cache.Key.sign(imageDigest(name, made)); err != nil {
		return err
	}
	if _, err := layout.Finish(image); err != nil {
		return err
	}
	if to.Transport == exportOCI {
		return ociimage.Add(ctx, to.Path, dir, to.tag(name))
	}
	return r.x.Engine.CopyImage(ctx, types.ImageCopy{
		Layout: dir, Destination: to.image(name), Environ: r.x.Environ, SkipTLSVerify: r.x.Cache.SkipTLSVerify,
	})
}
