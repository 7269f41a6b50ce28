// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// Modes of new files, before the umask.
const (
	dirMode  = 0o777
	fileMode = 0o666
)

// BlobsDir is the directory of blobs in a layout, which are named by their SHA-256 digests.
const BlobsDir = imgspec.ImageBlobsDir + "/" + string(digest.SHA256)

// mediaTypes holds the media types of layers by method of compression.
var mediaTypes = map[tarfile.Method]string{
	tarfile.None: imgspec.MediaTypeImageLayer,
	tarfile.Gzip: imgspec.MediaTypeImageLayerGzip,
	tarfile.Zstd: imgspec.MediaTypeImageLayerZstd,
}

// Compression is the compression of layers: none, gzip or zstd. Level 0 is the default of the method.
type Compression struct {
	Method tarfile.Method
	Level  int
}

// Layout is an image layout under construction.
type Layout struct {
	dir     string
	layers  []imgspec.Descriptor
	diffIDs []digest.Digest
	history []string
}

// Image describes an image apart from its layers.
type Image struct {
	Created  time.Time
	Platform imgspec.Platform
	Config   imgspec.ImageConfig
	// Annotations are the annotations of the manifest.
	Annotations map[string]string
}

// Create begins a layout in a new directory, which must not exist.
func Create(dir string) (*Layout, error) {
	if err := os.Mkdir(dir, dirMode); err != nil {
		return nil, err
	}
	if err := prepare(dir); err != nil {
		return nil, err
	}
	return &Layout{dir: dir}, nil
}

// prepare makes the blobs directory and the version file of a layout.
func prepare(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, BlobsDir), dirMode); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, imgspec.ImageLayoutFile),
		imgspec.ImageLayout{Version: imgspec.ImageLayoutVersion})
}

// AddLayer packs a tree as the next layer; comment is its entry in the image's history. A tree with nothing
// but its root is left out unless it is the first layer.
func (l *Layout) AddLayer(ctx context.Context, tree diskimage.Tree, comment string, c Compression) error {
	if len(l.layers) > 0 {
		something, err := hasContent(tree)
		if err != nil || !something {
			return err
		}
	}
	layer, err := l.Pack(ctx, tree, c)
	if err != nil {
		return err
	}
	l.Append(layer, comment)
	return nil
}

// Layer is a packed layer of an image.
type Layer struct {
	Blob imgspec.Descriptor
	// DiffID is the digest of the uncompressed tar archive.
	DiffID digest.Digest
}

// Pack packs a tree as a blob of the layout, for Append.
func (l *Layout) Pack(ctx context.Context, tree diskimage.Tree, c Compression) (Layer, error) {
	mediaType, ok := mediaTypes[c.Method]
	if !ok {
		return Layer{}, fmt.Errorf("BUG: layers cannot be compressed with %q", c.Method)
	}
	unpacked := sha256.New()
	blob, err := l.writeBlob(mediaType, func(w io.Writer) (err error) {
		z, err := tarfile.NewWriter(w, c.Method, c.Level, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, z.Close()) }()
		return tarfile.Write(ctx, io.MultiWriter(z, unpacked), tree)
	})
	return Layer{blob, digestOf(unpacked)}, err
}

// Append adds a packed layer to the image. If Pack of this layout has not written its blob, the destination
// to which the layout is copied must have it.
func (l *Layout) Append(layer Layer, comment string) {
	l.layers = append(l.layers, layer.Blob)
	l.diffIDs = append(l.diffIDs, layer.DiffID)
	l.history = append(l.history, comment)
}

// hasContent reports whether a tree has more than its root.
func hasContent(tree diskimage.Tree) (bool, error) {
	n := 0
	for _, err := range tree.Entries() {
		if err != nil {
			return false, err
		}
		if n++; n > 1 {
			return true, nil
		}
	}
	return false, nil
}

// WriteConfig writes the configuration of an image with the present layers, as Finish does.
func (l *Layout) WriteConfig(image Image) (imgspec.Descriptor, error) {
	created := image.Created.UTC()
	config := imgspec.Image{
		Created: &created, Platform: image.Platform, Config: image.Config,
		RootFS: imgspec.RootFS{Type: "layers", DiffIDs: l.diffIDs},
	}
	for _, comment := range l.history {
		config.History = append(config.History, imgspec.History{Created: &created, CreatedBy: comment})
	}
	return l.writeJSONBlob(imgspec.MediaTypeImageConfig, config)
}

// Finish writes the configuration, the manifest and the index, and returns the digest of the manifest.
func (l *Layout) Finish(image Image) (digest.Digest, error) {
	configBlob, err := l.WriteConfig(image)
	if err != nil {
		return "", err
	}
	manifest, err := l.writeJSONBlob(imgspec.MediaTypeImageManifest, imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest,
		Config: configBlob, Layers: l.layers, Annotations: image.Annotations,
	})
	if err != nil {
		return "", err
	}
	manifest.Platform = &image.Platform
	return manifest.Digest, writeIndex(l.dir, []imgspec.Descriptor{manifest})
}

// writeJSONBlob writes v as a blob.
func (l *Layout) writeJSONBlob(mediaType string, v any) (imgspec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	return l.writeBlob(mediaType, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// writeBlob writes a blob, a file that is named by its digest.
func (l *Layout) writeBlob(mediaType string, write func(io.Writer) error) (_ imgspec.Descriptor, err error) {
	name := filepath.Join(l.dir, BlobsDir, ".vmdebootstrap-"+rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(name))
		}
	}()
	h := sha256.New()
	counted := &counter{w: io.MultiWriter(f, h)}
	if err := write(counted); err != nil {
		return imgspec.Descriptor{}, err
	}
	if err := f.Close(); err != nil {
		return imgspec.Descriptor{}, err
	}
	blob := imgspec.Descriptor{MediaType: mediaType, Digest: digestOf(h), Size: counted.n}
	return blob, os.Rename(name, blobFile(l.dir, blob.Digest))
}

// counter counts the bytes written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func digestOf(h hash.Hash) digest.Digest { return digest.NewDigest(digest.SHA256, h) }

func blobFile(dir string, d digest.Digest) string { return filepath.Join(dir, BlobsDir, d.Encoded()) }

// writeIndex replaces the index of a layout.
func writeIndex(dir string, manifests []imgspec.Descriptor) error {
	return writeJSON(filepath.Join(dir, imgspec.ImageIndexFile), imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex, Manifests: manifests,
	})
}

// readIndex reads the index of a layout; a missing index is empty.
func readIndex(dir string) (imgspec.Index, error) {
	var index imgspec.Index
	data, err := diskimage.ReadRegular(filepath.Join(dir, imgspec.ImageIndexFile))
	if errors.Is(err, os.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return index, err
	}
	return index, json.Unmarshal(data, &index)
}

// writeJSON replaces a file atomically.
func writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replace(name, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// replace writes a file, which gets its name when it is complete.
func replace(name string, write func(*os.File) error) error {
	return diskimage.WriteFile(context.Background(), name, fileMode, write)
}
