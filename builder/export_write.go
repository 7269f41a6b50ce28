// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// annotationSuite names the release by its codename, which no annotation of the image specification is for.
const annotationSuite = "io.github.vmdebootstrap.suite"

// imagePath is where a container of the image looks for programs.
const imagePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// CheckExports finds out before the work begins whether registries answer and stores can be opened.
func (x *Executor) CheckExports(ctx context.Context, spec Spec) error {
	var errs []error
	for _, e := range spec.o.Exports {
		if e.Transport != transport.Docker && e.Transport != transport.Storage && e.Transport != transport.Dir {
			continue
		}
		if err := x.Engine.CheckDestination(ctx, x.imageCopy(spec, "", e)); err != nil {
			errs = append(errs, &problem.Problem{Flag: "--export", Err: err})
		}
	}
	return errors.Join(errs...)
}

func (x *Executor) imageCopy(spec Spec, layout string, e Export) types.ImageCopy {
	return types.ImageCopy{Layout: layout, Destination: e.String(), Environ: x.Environ,
		SkipTLSVerify: !spec.o.TLSVerify}
}

// WriteExports writes the finished root file system to each destination of --export. Layers are packed once.
func (r *Result) WriteExports(ctx context.Context) (err error) {
	exports := r.Plan.Exports
	var image exportedImage
	if slices.ContainsFunc(exports, Export.isImage) {
		if image, err = r.writeLayout(ctx, exports); err != nil {
			return fmt.Errorf("make a container image: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(image.dir)) }()
	}
	for _, e := range exports {
		if err := r.writeExport(ctx, image, e); err != nil {
			return fmt.Errorf("--export: %w", err)
		}
	}
	return nil
}

// exportedImage is a container image in a layout of this build, with the artifacts that refer to it.
type exportedImage struct {
	dir       string
	artifacts []imgspec.Descriptor
}

// writeExport writes one of them.
func (r *Result) writeExport(ctx context.Context, image exportedImage, e Export) error {
	if e.Transport == transport.Tar {
		return r.WriteTarball(ctx, e.Path)
	}
	r.x.Progress.Message("write " + e.String())
	dst := r.x.imageCopy(r.spec, image.dir, e)
	dst.Progress = r.x.Progress.Bytes("copy", progress.DirBytes(filepath.Join(image.dir, ociimage.BlobsDir)))
	var artifacts []imgspec.Descriptor
	if e.takesArtifacts() {
		artifacts = image.artifacts
	}
	switch e.Transport {
	case transport.Dir:
		return r.x.unpackTree(ctx, r.tree(r.Rootfs), e.Path)
	case transport.OCI:
		return ociimage.Add(ctx, e.Path, image.dir, e.Name, artifacts...)
	case transport.OCIArchive:
		return diskimage.WriteFile(ctx, e.Path, outputMode, func(f *os.File) error {
			return ociimage.WriteArchive(ctx, f, image.dir, e.Name, r.lock.Time)
		})
	case transport.DockerArchive:
		return diskimage.WriteFile(ctx, e.Path, outputMode, func(f *os.File) error {
			dst.File = f
			return r.x.Engine.CopyImage(ctx, dst)
		})
	default:
		for _, a := range artifacts {
			dst.Artifacts = append(dst.Artifacts, types.Artifact{Type: a.ArtifactType, Digest: a.Digest, Size: a.Size})
		}
		return r.x.Engine.CopyImage(ctx, dst)
	}
}

// writeLayout packs the root file system as an OCI layout in a directory of this build.
func (r *Result) writeLayout(ctx context.Context, exports []Export) (image exportedImage, err error) {
	compression, err := exportCompression(r.spec.o.ExportCompression)
	if err != nil {
		return image, err
	}
	if !slices.ContainsFunc(exports, Export.compresses) {
		compression = ociimage.Compression{Method: tarfile.None}
	}
	image.dir = filepath.Join(r.x.TempDir, "image")
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(image.dir))
		}
	}()
	layout, err := ociimage.Create(image.dir)
	if err != nil {
		return image, err
	}
	r.x.Progress.Message("pack the layers of a container image")
	if err := r.addLayers(ctx, layout, compression); err != nil {
		return image, err
	}
	config, err := r.image()
	if err != nil {
		return image, err
	}
	digest, err := layout.Finish(config)
	if err != nil {
		return image, err
	}
	r.x.Progress.Message("container image " + digest.String())
	if slices.ContainsFunc(exports, Export.takesArtifacts) {
		documents, err := r.documents(ctx)
		if err != nil {
			return image, err
		}
		image.artifacts, err = layout.Attach(r.lock.Time, documents)
		return image, err
	}
	return image, nil
}

// bound is a layer of the image that ends with a snapshot of the build.
type bound struct {
	snapshot int
	comment  string
}

// bounds are the layers below the last: what builds of one release share comes first. A build whose steps could not be
// kept has one layer for all of them.
func bounds(steps []step.Step, snapshots int, codename string) []bound {
	var all []bound
	snapshot := 0
	for _, s := range steps {
		if !s.Kept() {
			continue
		}
		if snapshot++; snapshot > snapshots {
			break
		}
		if title := s.LayerTitle(codename); title != "" {
			all = append(all, bound{snapshot, "vmdebootstrap: " + title})
		}
	}
	return all
}

// addLayers adds a layer for each bound and one for what came after.
func (r *Result) addLayers(ctx context.Context, layout *ociimage.Layout, c ociimage.Compression) (err error) {
	var states []Rootfs
	defer func() {
		for _, state := range states {
			err = errors.Join(err, state.Close())
		}
	}()
	var lower diskimage.Tree
	for _, b := range bounds(r.Plan.Steps, r.chain.Snapshots(), r.spec.Codename()) {
		state, err := r.Rootfs.Before(ctx, b.snapshot)
		if errors.Is(err, fs.ErrNotExist) {
			continue // of hundreds of snapshots, this one was removed meanwhile: its files go to the next layer
		}
		if err != nil {
			return err
		}
		states = append(states, state)
		upper := r.tree(state)
		if err := layout.AddLayer(ctx, ociimage.Difference(lower, upper), b.comment, c); err != nil {
			return err
		}
		lower = upper
	}
	return layout.AddLayer(ctx, ociimage.Difference(lower, r.tree(r.Rootfs)),
		"vmdebootstrap: configuration and hooks", c)
}

// image is what is said of the image beside its layers.
func (r *Result) image() (ociimage.Image, error) {
	release, o := r.spec.Release(), r.spec.o
	name := strings.TrimSpace(string(release.Vendor) + " " + release.Version)
	labels := map[string]string{
		imgspec.AnnotationTitle: fmt.Sprintf("%s (%s)", name, release.Codename),
		imgspec.AnnotationDescription: fmt.Sprintf("%s (%s) for %s, built by vmdebootstrap", name, release.Codename,
			o.Arch),
		imgspec.AnnotationVendor:  string(release.Vendor),
		imgspec.AnnotationCreated: r.lock.Time.UTC().Format(time.RFC3339),
		annotationSuite:           release.Codename,
	}
	if release.Version != "" {
		labels[imgspec.AnnotationVersion] = release.Version
	}
	shell := "/bin/sh"
	switch there, err := target.Exists(r.Rootfs, "/bin/bash"); {
	case err != nil:
		return ociimage.Image{}, err
	case there:
		shell = "/bin/bash"
	}
	return ociimage.Image{
		Created:     r.lock.Time,
		Platform:    platform(r.spec.Arch()),
		Config:      imgspec.ImageConfig{Env: []string{imagePath}, Cmd: []string{shell}, Labels: labels},
		Annotations: labels,
	}, nil
}

// platforms are the architectures that containers know by other names (GOARCH, and variants of the image index), by
// Debian's. The others have one name.
var platforms = map[string]imgspec.Platform{
	"i386":     {Architecture: "386"},
	"arm64":    {Architecture: "arm64", Variant: "v8"},
	"armel":    {Architecture: "arm", Variant: "v5"},
	"armhf":    {Architecture: "arm", Variant: "v7"},
	"mipsel":   {Architecture: "mipsle"},
	"mips64el": {Architecture: "mips64le"},
	"ppc64el":  {Architecture: "ppc64le"},
}

func platform(arch debian.Arch) imgspec.Platform {
	p, ok := platforms[arch.Name]
	if !ok {
		p.Architecture = arch.Name
	}
	p.OS = "linux"
	return p
}
