// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// files is a store in memory.
type files map[string][]byte

func (f files) open(name string) (diskimage.Content, int64, error) {
	data, ok := f[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return nopCloser{bytes.NewReader(data)}, int64(len(data)), nil
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// addBlob adds a blob to the layout and returns its digest.
func (f files) addBlob(data []byte) string {
	d := digest.FromBytes(data)
	f["blobs/sha256/"+d.Encoded()] = data
	return d.String()
}

// use reads an image to its end.
func use(t *testing.T, r *Reading, err error) {
	if err != nil {
		return
	}
	tree, err := diskimage.NewLayerTree(r.Layers...)
	if err == nil {
		for e, err := range tree.Entries() {
			if err != nil {
				break
			}
			if e.Name != "." && !fs.ValidPath(e.Name) {
				t.Errorf("the image has a file %q", e.Name)
			}
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// smallLayer returns a tar archive of one file.
func smallLayer(f *testing.F) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: "etc/issue", Mode: 0o644, Size: 1, Typeflag: tar.TypeReg})
	_, writeErr := w.Write([]byte("x"))
	if err := errors.Join(err, writeErr, w.Close()); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

// The parts of a layout refer to each other by digests, which the fuzzer could not guess: MANIFEST, CONFIG and LAYER in
// the texts stand for the digests of the other parts.
func FuzzLayout(f *testing.F) {
	const (
		index = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
			"digest":"MANIFEST","size":1,"platform":{"os":"linux","architecture":"amd64"},
			"annotations":{"org.opencontainers.image.ref.name":"x"}}]}`
		nested = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",
			"digest":"MANIFEST"}]}`
		manifest = `{"schemaVersion":2,"config":{"digest":"CONFIG","size":1},
			"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"LAYER","size":1}]}`
		config = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["LAYER"]}}`
	)
	layer := smallLayer(f)
	f.Add(index, manifest, config, layer, "")
	f.Add(index, manifest, config, layer, "x")
	f.Add(nested, nested, config, layer, "")
	f.Add(`{}`, `[]`, `null`, []byte{}, "")
	f.Add(`{"manifests":[null,{"digest":"sha256:../../x"},{"digest":"MANIFEST","platform":null}]}`, manifest,
		`{"rootfs":{"diff_ids":[":"]}}`, []byte("\x1f\x8b"), "y")
	f.Fuzz(func(t *testing.T, index, manifest, config string, layer []byte, name string) {
		s := files{}
		d := s.addBlob(layer)
		config = strings.ReplaceAll(config, "LAYER", d)
		manifest = strings.ReplaceAll(strings.ReplaceAll(manifest, "LAYER", d), "CONFIG", s.addBlob([]byte(config)))
		s["index.json"] = []byte(strings.ReplaceAll(index, "MANIFEST", s.addBlob([]byte(manifest))))
		c := Choice{Name: name, TempDir: t.TempDir()}
		c.Platform.OS, c.Platform.Architecture = "linux", "amd64"
		r, err := openLayout(t.Context(), s, c)
		use(t, r, err)
	})
}

func FuzzDockerArchive(f *testing.F) {
	const (
		manifest = `[{"Config":"config.json","RepoTags":["docker.io/library/x:1"],"Layers":["layer.tar"]}]`
		config   = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["LAYER"]}}`
	)
	layer := smallLayer(f)
	f.Add(manifest, config, layer, "x:1")
	f.Add(`[{"Layers":["../x"]}]`, `{}`, []byte{}, "")
	f.Add(`[{"Config":"","Layers":[""]},{}]`, `[]`, layer[:100], "")
	f.Fuzz(func(t *testing.T, manifest, config string, layer []byte, name string) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, file := range []struct {
			name string
			data []byte
		}{
			{"manifest.json", []byte(manifest)},
			{"config.json", []byte(strings.ReplaceAll(config, "LAYER", digest.FromBytes(layer).String()))},
			{"layer.tar", layer},
		} {
			err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.data)),
				Typeflag: tar.TypeReg})
			_, writeErr := w.Write(file.data)
			if err := errors.Join(err, writeErr); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data := archive.Bytes()
		r, err := OpenDockerArchive(t.Context(), bytes.NewReader(data), int64(len(data)),
			Choice{Name: name, TempDir: t.TempDir()})
		use(t, r, err)
	})
}
