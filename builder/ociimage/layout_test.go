// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// newLayout writes an image of two layers.
func newLayout(t *testing.T, c Compression, text string) (dir string, manifest digest.Digest) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "image")
	l, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	base := dirTree(t, "etc/", "etc/passwd root", "old 1")
	whole := dirTree(t, "etc/", "etc/passwd root", "etc/issue "+text)
	image := Image{
		Created: then, Platform: imgspec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"},
		Config:      imgspec.ImageConfig{Cmd: []string{"/bin/sh"}, Labels: map[string]string{"b": "2", "a": "1"}},
		Annotations: map[string]string{"suite": "trixie"},
	}
	err = errors.Join(
		l.AddLayer(t.Context(), Difference(nil, base), "base", c),
		l.AddLayer(t.Context(), Difference(base, base), "nothing", c),
		l.AddLayer(t.Context(), Difference(base, whole), "rest", c),
	)
	if err == nil {
		manifest, err = l.Finish(image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, manifest
}

// readBlob reads a blob and verifies its digest.
func readBlob(t *testing.T, dir string, d digest.Digest) []byte {
	t.Helper()
	data, err := os.ReadFile(blobFile(dir, d))
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(data); got != d {
		t.Errorf("blob %s has digest %s", d, got)
	}
	return data
}

func readManifest(t *testing.T, dir string, d digest.Digest) (m imgspec.Manifest, config imgspec.Image) {
	t.Helper()
	if err := errors.Join(json.Unmarshal(readBlob(t, dir, d), &m), json.Unmarshal(readBlob(t, dir, m.Config.Digest),
		&config)); err != nil {
		t.Fatal(err)
	}
	return m, config
}

func TestLayoutHasLayersAndConfig(t *testing.T) {
	t.Parallel()
	for method, mediaType := range mediaTypes {
		dir, d := newLayout(t, Compression{Method: method}, "x")
		manifest, config := readManifest(t, dir, d)
		if len(manifest.Layers) != 2 || len(config.RootFS.DiffIDs) != 2 || len(config.History) != 2 {
			t.Fatalf("%s: got %d layers, %d ids, %d lines of history; want 2, the empty one left out", method,
				len(manifest.Layers), len(config.RootFS.DiffIDs), len(config.History))
		}
		if config.Architecture != "arm" || config.Variant != "v7" || !config.Created.Equal(then) ||
			manifest.Annotations["suite"] != "trixie" {
			t.Errorf("%s: got %+v, %v", method, config, manifest.Annotations)
		}
		for i, layer := range manifest.Layers {
			if packed := readBlob(t, dir, layer.Digest); layer.MediaType != mediaType ||
				layer.Size != int64(len(packed)) {
				t.Errorf("%s: got %+v of %d bytes", method, layer, len(packed))
			} else if got := digest.FromBytes(unpack(t, method, packed)); got != config.RootFS.DiffIDs[i] {
				t.Errorf("%s: layer %d unpacked has digest %s, not %s", method, i, got, config.RootFS.DiffIDs[i])
			}
		}
	}
}

// unpack decompresses data with the usual programs.
func unpack(t *testing.T, method tarfile.Method, data []byte) []byte {
	t.Helper()
	if method == tarfile.None {
		return data
	}
	file := filepath.Join(t.TempDir(), "packed")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return []byte(diskimagetest.Run(t, string(method), "-dc", file))
}

func TestDigestIsReproducible(t *testing.T) {
	t.Parallel()
	zstd := Compression{Method: tarfile.Zstd, Level: 9}
	_, a := newLayout(t, zstd, "x")
	_, b := newLayout(t, zstd, "x")
	_, c := newLayout(t, zstd, "y")
	if a != b || a == c {
		t.Errorf("got %s, %s and for another text %s", a, b, c)
	}
}

func TestAddNamesImagesAndSharesBlobs(t *testing.T) {
	t.Parallel()
	gzip := Compression{Method: tarfile.Gzip}
	one, first := newLayout(t, gzip, "x")
	two, second := newLayout(t, gzip, "y")
	dst := filepath.Join(t.TempDir(), "all")
	index := func() (names []string) {
		t.Helper()
		index, err := readIndex(dst)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range index.Manifests {
			names = append(names, m.Annotations[imgspec.AnnotationRefName]+" "+m.Digest.String())
		}
		return names
	}
	for _, step := range []struct {
		src, name string
		want      []string
	}{
		{one, "a", []string{"a " + first.String()}},
		{two, "b", []string{"a " + first.String(), "b " + second.String()}},
		{two, "a", []string{"b " + second.String(), "a " + second.String()}},
		{one, "", []string{"b " + second.String(), "a " + second.String(), " " + first.String()}},
		{two, "", []string{"b " + second.String(), "a " + second.String(), " " + second.String()}},
	} {
		if err := Add(t.Context(), dst, step.src, step.name); err != nil {
			t.Fatal(err)
		}
		if got := index(); !slices.Equal(got, step.want) {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	// Two manifests, two configurations, a common base and two other layers.
	if blobs, err := os.ReadDir(filepath.Join(dst, BlobsDir)); err != nil || len(blobs) != 7 {
		t.Errorf("got %v (%v), want 7 blobs", blobs, err)
	}
	manifest, _ := readManifest(t, dst, second)
	for _, layer := range manifest.Layers {
		readBlob(t, dst, layer.Digest)
	}
}

func TestAddRejectsOtherDirectories(t *testing.T) {
	t.Parallel()
	src, _ := newLayout(t, Compression{Method: tarfile.None}, "x")
	dst := t.TempDir()
	if err := os.WriteFile(filepath.Join(dst, "letter"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Add(t.Context(), dst, src, ""); err == nil || !strings.Contains(err.Error(), "not an OCI image layout") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dst); err != nil || len(entries) != 1 {
		t.Errorf("got %v (%v)", entries, err)
	}
	// A new directory is removed if a blob cannot be copied.
	if err := os.RemoveAll(filepath.Join(src, BlobsDir)); err != nil {
		t.Fatal(err)
	}
	dst = filepath.Join(dst, "new")
	if err := Add(t.Context(), dst, src, ""); err == nil {
		t.Error("blobs that are gone were copied")
	}
	if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestWriteArchivePacksNamedLayout(t *testing.T) {
	t.Parallel()
	dir, manifest := newLayout(t, Compression{Method: tarfile.Zstd}, "x")
	var out bytes.Buffer
	if err := WriteArchive(t.Context(), &out, dir, "debian:13", then); err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(&out); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if !h.ModTime.Equal(then) {
			t.Errorf("%s has time %s", h.Name, h.ModTime)
		}
		if h.Name == imgspec.ImageIndexFile {
			data, err := io.ReadAll(archive)
			if err != nil || !strings.Contains(string(data), `"debian:13"`) ||
				!strings.Contains(string(data), manifest.String()) {
				t.Errorf("got index %s (%v)", data, err)
			}
		}
	}
	if len(names) != 8 || names[0] != "oci-layout" || names[1] != "index.json" || names[3] != "blobs/sha256/" ||
		!slices.IsSorted(names[2:]) {
		t.Errorf("got %q", names)
	}
}

func TestSkopeoReadsLayoutAndArchive(t *testing.T) {
	t.Parallel()
	dir, manifest := newLayout(t, Compression{Method: tarfile.Zstd}, "x")
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(WriteArchive(t.Context(), f, dir, "13", then), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"oci:" + dir, "oci-archive:" + file + ":13"} {
		out := diskimagetest.Run(t, "skopeo", "inspect", name)
		for _, want := range []string{manifest.String(), `"arm"`, `"a": "1"`} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %s in %s", name, want, out)
			}
		}
	}
}
