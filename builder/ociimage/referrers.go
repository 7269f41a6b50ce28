// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Document is a file about an image, such as a bill of materials. A layout or a registry has it as an artifact that
// refers to the image.
type Document struct {
	// Type is the media type of the file, and the type of the artifact.
	Type string
	// Name is the file's name.
	Name string
	Data []byte
}

// Attach writes an artifact for each document, whose subject is the image of Finish, and returns the descriptors of
// their manifests (image specification, manifest.md, "Guidelines for Artifact Usage"). The index of the layout still
// has the image alone; Add lists the artifacts, and registries find them by their subject.
func (l *Layout) Attach(created time.Time, documents []Document) ([]imgspec.Descriptor, error) {
	index, err := readIndex(l.dir)
	if err != nil || len(index.Manifests) != 1 {
		return nil, errors.Join(fmt.Errorf("BUG: a layout of %d images", len(index.Manifests)), err)
	}
	image := index.Manifests[0]
	config, err := l.writeBlob(imgspec.MediaTypeEmptyJSON, func(w io.Writer) error {
		_, err := w.Write(imgspec.DescriptorEmptyJSON.Data)
		return err
	})
	if err != nil {
		return nil, err
	}
	var artifacts []imgspec.Descriptor
	for _, d := range documents {
		blob, err := l.writeBlob(d.Type, func(w io.Writer) error {
			_, err := w.Write(d.Data)
			return err
		})
		if err != nil {
			return nil, err
		}
		blob.Annotations = map[string]string{imgspec.AnnotationTitle: d.Name}
		annotations := map[string]string{imgspec.AnnotationCreated: created.UTC().Format(time.RFC3339)}
		artifact, err := l.writeJSONBlob(imgspec.MediaTypeImageManifest, imgspec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, ArtifactType: d.Type,
			Config: config, Layers: []imgspec.Descriptor{blob}, Annotations: annotations,
			Subject: &imgspec.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size},
		})
		if err != nil {
			return nil, err
		}
		artifact.ArtifactType, artifact.Annotations = d.Type, annotations
		artifacts = append(artifacts, artifact)
	}
	return artifacts, nil
}

// isArtifact reports whether an entry of an index is something else than an image.
func isArtifact(d imgspec.Descriptor) bool { return d.ArtifactType != "" }

// withoutOrphans returns the entries of the index of a layout without the artifacts whose image is not among them any
// more.
func withoutOrphans(dir string, entries []imgspec.Descriptor) ([]imgspec.Descriptor, error) {
	listed := map[digest.Digest]bool{}
	for _, d := range entries {
		listed[d.Digest] = true
	}
	var problems []error
	kept := slices.DeleteFunc(slices.Clone(entries), func(d imgspec.Descriptor) bool {
		if !isArtifact(d) || d.Annotations[imgspec.AnnotationRefName] != "" {
			return false
		}
		var manifest imgspec.Manifest
		err := readDescriptor(directory(dir), d, &manifest)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		return err != nil || manifest.Subject != nil && !listed[manifest.Subject.Digest]
	})
	return kept, errors.Join(problems...)
}
