// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports/alltransports"
	imagetypes "go.podman.io/image/v5/types"

	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// InspectImage reads an image's configuration and manifest, and no layers. The error wraps fs.ErrNotExist if
// there is no such image where others may be.
func (r *Registry) InspectImage(ctx context.Context, src types.ImageSource) (types.RemoteImage, error) {
	var found types.RemoteImage
	answer, err := r.imageHelper(ctx, request{Do: doInspect, Image: src.Name, SkipTLSVerify: src.SkipTLSVerify},
		src.Environ, nil, nil)
	if err == nil {
		err = json.Unmarshal(answer, &found)
	}
	if err != nil {
		return types.RemoteImage{}, fmt.Errorf("look at %s: %w", src.Name, err)
	}
	return found, nil
}

// FetchLayers writes layers of an image to files of a directory, in their packed form, each called by the
// hexadecimal part of its digest. What has another digest is refused.
func (r *Registry) FetchLayers(ctx context.Context, src types.ImageSource, layers []types.RemoteLayer,
	dir string) error {
	order := request{Do: doFetch, Image: src.Name, SkipTLSVerify: src.SkipTLSVerify, Layers: layers, Dir: dir}
	if _, err := r.imageHelper(ctx, order, src.Environ, nil, nil); err != nil {
		return fmt.Errorf("get layers of %s: %w", src.Name, err)
	}
	return nil
}

// isNoImage reports whether an error says that an image is missing, and not the place where it is looked for.
func isNoImage(err error) bool {
	var missing layout.ImageNotFoundError
	var code errcode.ErrorCoder
	switch {
	case errors.As(err, &missing), errors.Is(err, istorage.ErrNoSuchImage):
		return true
	case errors.As(err, &code):
		return code.ErrorCode().Descriptor().HTTPStatusCode == http.StatusNotFound
	default:
		// Of registries that give no reason (go.podman.io/image has no type for that which others could see).
		return strings.Contains(err.Error(), "StatusCode: 404")
	}
}

// open opens the image.
func (o request) open(ctx context.Context) (imagetypes.ImageSource, error) {
	ref, err := alltransports.ParseImageName(o.Image)
	if err != nil {
		return nil, err
	}
	return ref.NewImageSource(ctx, o.systemContext())
}

// inspect reads configuration and manifest. The library holds the configuration against its digest in the manifest.
func (o request) inspect(ctx context.Context) (_ types.RemoteImage, err error) {
	src, err := o.open(ctx)
	if err != nil {
		return types.RemoteImage{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	img, err := image.FromUnparsedImage(ctx, o.systemContext(), image.UnparsedInstance(src, nil))
	if err != nil {
		return types.RemoteImage{}, err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return types.RemoteImage{}, err
	}
	layers := img.LayerInfos()
	if len(layers) != len(config.RootFS.DiffIDs) {
		return types.RemoteImage{}, fmt.Errorf("the image has %d layers and names %d", len(layers),
			len(config.RootFS.DiffIDs))
	}
	manifest, _, err := img.Manifest(ctx)
	if err != nil {
		return types.RemoteImage{}, err
	}
	found := types.RemoteImage{Labels: config.Config.Labels, Config: img.ConfigInfo().Digest}
	var annotated struct{ Annotations map[string]string }
	if err := json.Unmarshal(manifest, &annotated); err != nil {
		return types.RemoteImage{}, fmt.Errorf("annotations of the manifest: %w", err)
	}
	found.Annotations = annotated.Annotations
	for i, l := range layers {
		found.Layers = append(found.Layers, types.RemoteLayer{
			MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, DiffID: config.RootFS.DiffIDs[i],
		})
	}
	return found, nil
}

// fetch writes layers to files.
func (o request) fetch(ctx context.Context) (err error) {
	src, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	for _, l := range o.Layers {
		if err := fetchLayer(ctx, src, l, o.Dir); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	return nil
}

func fetchLayer(ctx context.Context, src imagetypes.ImageSource, l types.RemoteLayer, dir string) (err error) {
	if err := l.Digest.Validate(); err != nil {
		return err
	}
	blob, _, err := src.GetBlob(ctx, imagetypes.BlobInfo{Digest: l.Digest, Size: l.Size, MediaType: l.MediaType},
		none.NoCache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	f, err := os.OpenFile(filepath.Join(dir, l.Digest.Encoded()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // twice in one image
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	verifier := l.Digest.Verifier()
	// A byte more than promised is enough to know that it is wrong.
	if _, err := io.Copy(io.MultiWriter(f, verifier), io.LimitReader(blob, l.Size+1)); err != nil {
		return err
	}
	if !verifier.Verified() {
		return errors.New("it is not what its digest says")
	}
	return nil
}
