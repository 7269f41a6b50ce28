// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// Choice selects the image to read.
type Choice struct {
	// Name is the name in the index, or the reference in an archive of docker; it may be empty if there is one image.
	Name string
	// Platform selects one of several images with the same name.
	Platform imgspec.Platform
	// TempDir is the directory for unnamed files with the decompressed layers.
	TempDir string
}

// Reading is an image that is being read.
type Reading struct {
	// Layers are the layers, the lowest first, for diskimage.NewLayerTree. Their content has the digests in the
	// configuration of the image.
	Layers []diskimage.Layer
	// Config is the configuration of the image's processes, and ID the digest of the whole configuration, which has those
	// of the layers.
	Config imgspec.ImageConfig
	ID     digest.Digest
	files  []io.Closer
}

// Close closes the layers.
func (r *Reading) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// OpenLayout opens an image of an OCI image layout in a directory.
func OpenLayout(ctx context.Context, dir string, c Choice) (*Reading, error) {
	return openLayout(ctx, directory(dir), c)
}

// OpenArchive opens an image of an OCI image layout in an uncompressed tar archive.
func OpenArchive(ctx context.Context, archive io.ReaderAt, size int64, c Choice) (*Reading, error) {
	members, err := openMembers(archive, size)
	if err != nil {
		return nil, err
	}
	return openLayout(ctx, members, c)
}

// store holds the files of an image.
type store interface {
	// open returns a file, whose content the caller closes, and its size.
	open(name string) (diskimage.Content, int64, error)
}

// directory is a store on disk.
type directory string

func (d directory) open(name string) (diskimage.Content, int64, error) {
	f, err := diskimage.OpenRegular(filepath.Join(string(d), name))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// members is a store in a tar archive.
type members struct{ diskimage.Index }

// openMembers indexes a tar archive.
func openMembers(archive io.ReaderAt, size int64) (members, error) {
	var m members
	err := guard.Parse(func() error {
		tree, err := diskimage.NewTarTree(archive, size)
		if err != nil {
			return err
		}
		m.Index, err = diskimage.NewIndex(tree)
		return err
	})
	return m, err
}

func (m members) open(name string) (diskimage.Content, int64, error) {
	e, err := m.File(name)
	if err != nil {
		return nil, 0, err
	}
	if e.Open == nil {
		return nil, 0, fmt.Errorf("%s is empty", name)
	}
	content, err := e.Open()
	return content, e.Size, err
}

// maxJSON limits the size of indexes, manifests and configurations; registries reject manifests above 4 MiB.
const maxJSON = 16 << 20

// readJSON reads a file into v, and verifies its digest unless that is "".
func readJSON(s store, name string, want digest.Digest, v any) (err error) {
	content, size, err := s.open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if size > maxJSON {
		return fmt.Errorf("%s: too large: %d bytes", name, size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(content, 0, size), data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if want != "" && want.Algorithm().FromBytes(data) != want {
		return fmt.Errorf("%s: digest mismatch: the image is damaged", name)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// blobName returns the path of a blob in a layout. It validates the digest, which is untrusted.
func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return imgspec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

// readDescriptor reads the blob of a descriptor into v.
func readDescriptor(s store, d imgspec.Descriptor, v any) error {
	name, err := blobName(d.Digest)
	if err != nil {
		return err
	}
	return readJSON(s, name, d.Digest, v)
}

// openLayout opens an image of a layout, which is untrusted.
func openLayout(ctx context.Context, s store, c Choice) (r *Reading, err error) {
	err = guard.Parse(func() (err error) {
		r, err = readLayout(ctx, s, c)
		return err
	})
	return r, err
}

// readLayout is openLayout without its guard against panics.
func readLayout(ctx context.Context, s store, c Choice) (*Reading, error) {
	var index imgspec.Index
	if err := readJSON(s, imgspec.ImageIndexFile, "", &index); err != nil {
		return nil, fmt.Errorf("not an OCI image layout: %w", err)
	}
	d, err := c.choose(s, index)
	if err != nil {
		return nil, err
	}
	var manifest imgspec.Manifest
	if err := readDescriptor(s, d, &manifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if manifest.SchemaVersion != 2 {
		return nil, fmt.Errorf("manifest %s: unsupported schema version %d; want 2", d.Digest,
			manifest.SchemaVersion)
	}
	var config imgspec.Image
	if err := readDescriptor(s, manifest.Config, &config); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	names := make([]string, len(manifest.Layers))
	for i, layer := range manifest.Layers {
		if strings.HasSuffix(layer.MediaType, "+encrypted") {
			return nil, fmt.Errorf("layer %d is encrypted", i+1)
		}
		if names[i], err = blobName(layer.Digest); err != nil {
			return nil, err
		}
	}
	r, err := readLayers(ctx, s, names, config.RootFS.DiffIDs, c.TempDir)
	if err != nil {
		return nil, err
	}
	r.Config, r.ID = config.Config, manifest.Config.Digest
	return r, nil
}

// readLayers opens the layers with the given names, and verifies the digests of their uncompressed contents.
func readLayers(ctx context.Context, s store, names []string, digests []digest.Digest, tmp string) (_ *Reading,
	err error) {
	if len(names) == 0 {
		return nil, errors.New("the image has no layers")
	}
	if len(names) != len(digests) {
		return nil, fmt.Errorf("the image has %d layers, but its configuration says %d", len(names), len(digests))
	}
	all := make([]*plainLayer, len(names))
	r := &Reading{}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		group.Go(func() (err error) {
			err = guard.Parse(func() (err error) {
				all[i], err = readLayer(groupCtx, s, name, digests[i], tmp)
				return err
			})
			if err != nil {
				return fmt.Errorf("layer %d (%s): %w", i+1, name, err)
			}
			return nil
		})
	}
	err = group.Wait()
	for _, layer := range all {
		if layer != nil {
			r.Layers = append(r.Layers, layer.Layer)
			r.files = append(r.files, layer)
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// plainLayer is an uncompressed layer.
type plainLayer struct {
	diskimage.Layer
	io.Closer
}

// readLayer opens a layer in place or, if it is compressed, decompresses it to an unnamed file.
func readLayer(ctx context.Context, s store, name string, want digest.Digest, tmp string) (_ *plainLayer, err error) {
	if err := want.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", want, err)
	}
	content, size, err := s.open(name)
	if err != nil {
		return nil, err
	}
	layer := &plainLayer{diskimage.Layer{Archive: content, Size: size}, content}
	defer func() {
		if err != nil {
			err = errors.Join(err, layer.Close())
		}
	}()
	plain, err := tarfile.IsPlain(content)
	if err != nil {
		return nil, err
	}
	if !plain {
		f, size, err := tarfile.Spool(ctx, io.NewSectionReader(content, 0, size), tmp)
		if f != nil {
			layer.Layer, layer.Closer = diskimage.Layer{Archive: f, Size: size}, f
			err = errors.Join(err, content.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
	}
	h := want.Verifier()
	if _, err := io.Copy(h, io.NewSectionReader(diskimage.CancelReaderAt(ctx, layer.Archive), 0, layer.Size)); err != nil {
		return nil, err
	}
	if !h.Verified() {
		return nil, fmt.Errorf("digest mismatch: want %s: the image is damaged", want)
	}
	return layer, ctx.Err()
}

// choose returns the manifest of the image. An index may contain other indexes, with a manifest for each platform.
func (c Choice) choose(s store, index imgspec.Index) (imgspec.Descriptor, error) {
	found := slices.DeleteFunc(slices.Clone(index.Manifests), func(d imgspec.Descriptor) bool {
		return isArtifact(d) || c.Name != "" && d.Annotations[imgspec.AnnotationRefName] != c.Name
	})
	// A nested index has the platforms of one name.
	const depth = 4
	for range depth {
		d, err := c.one(found, index.Manifests)
		if err != nil {
			return imgspec.Descriptor{}, err
		}
		if d.MediaType != imgspec.MediaTypeImageIndex && d.MediaType != dockerList {
			return d, nil
		}
		var inner imgspec.Index
		if err := readDescriptor(s, d, &inner); err != nil {
			return imgspec.Descriptor{}, fmt.Errorf("index: %w", err)
		}
		found = inner.Manifests
	}
	return imgspec.Descriptor{}, errors.New("the indexes are nested too deeply")
}

// dockerList is docker's media type of an index.
const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"

// one returns the only manifest found, or the one for the platform.
func (c Choice) one(found, all []imgspec.Descriptor) (imgspec.Descriptor, error) {
	if len(found) == 1 {
		return found[0], nil
	}
	var fitting []imgspec.Descriptor
	var platforms []string
	for _, d := range found {
		if d.Platform == nil {
			continue
		}
		platforms = append(platforms, d.Platform.OS+"/"+d.Platform.Architecture)
		if d.Platform.OS == c.Platform.OS && d.Platform.Architecture == c.Platform.Architecture &&
			(c.Platform.Variant == "" || d.Platform.Variant == "" || d.Platform.Variant == c.Platform.Variant) {
			fitting = append(fitting, d)
		}
	}
	switch {
	case len(fitting) == 1:
		return fitting[0], nil
	case len(found) == 0:
		return imgspec.Descriptor{}, fmt.Errorf("no image %q; the index has: %s", c.Name,
			strings.Join(refNames(all), ", "))
	case len(fitting) == 0 && len(platforms) > 0:
		return imgspec.Descriptor{}, fmt.Errorf("no image for %s/%s; the index has: %s", c.Platform.OS,
			c.Platform.Architecture, strings.Join(platforms, ", "))
	default:
		return imgspec.Descriptor{}, fmt.Errorf("several images: name one of %s",
			strings.Join(refNames(all), ", "))
	}
}

// refNames returns the names of images, for messages.
func refNames(all []imgspec.Descriptor) []string {
	var names []string
	for _, d := range all {
		if name := d.Annotations[imgspec.AnnotationRefName]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{"only images without a name"}
	}
	return names
}
