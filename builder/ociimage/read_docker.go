// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerManifest describes an image in manifest.json of an archive that "docker save" writes.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// OpenDockerArchive opens an image of an uncompressed archive of "docker save".
func OpenDockerArchive(ctx context.Context, archive io.ReaderAt, size int64, c Choice) (*Reading, error) {
	members, err := openMembers(archive, size)
	if err != nil {
		return nil, err
	}
	var images []dockerManifest
	if err := readJSON(members, "manifest.json", "", &images); err != nil {
		return nil, fmt.Errorf("not an archive of docker save: %w", err)
	}
	var names []string
	for _, image := range images {
		names = append(names, image.RepoTags...)
	}
	if c.Name != "" {
		images = slices.DeleteFunc(images, func(m dockerManifest) bool { return !m.isCalled(c.Name) })
	}
	switch {
	case len(images) == 0:
		return nil, fmt.Errorf("no image %q; the archive has: %s", c.Name, strings.Join(names, ", "))
	case len(images) > 1:
		return nil, fmt.Errorf("several images: name one of %s", strings.Join(names, ", "))
	}
	var config imgspec.Image
	if err := readJSON(members, images[0].Config, "", &config); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	r, err := readLayers(ctx, members, images[0].Layers, config.RootFS.DiffIDs, c.TempDir)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(config)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configuration: %w", err), r.Close())
	}
	// The name of the file is the digest only if docker itself has saved the image.
	r.Config, r.ID = config.Config, digest.FromBytes(data)
	return r, nil
}

// isCalled reports whether an image has a name. Docker leaves out the default prefix of names.
func (m dockerManifest) isCalled(name string) bool {
	short := func(s string) string { return strings.TrimPrefix(strings.TrimPrefix(s, "docker.io/"), "library/") }
	return slices.ContainsFunc(m.RepoTags, func(tag string) bool { return short(tag) == short(name) })
}
