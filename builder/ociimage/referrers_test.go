// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// Issue 18, 1: manifest and bills of materials refer to the image. oras-go and skopeo judge the layout.
func TestArtifactsReferToTheImage(t *testing.T) {
	t.Parallel()
	src, image := newLayout(t, Compression{Method: "gzip"}, "x")
	documents := []Document{
		{"application/spdx+json", "debian.spdx.json", []byte(`{"spdxVersion": "SPDX-2.3"}`)},
		{"application/vnd.cyclonedx+json", "debian.cdx.json", []byte(`{"bomFormat": "CycloneDX"}`)},
	}
	artifacts, err := (&Layout{dir: src}).Attach(then, documents)
	if err != nil || len(artifacts) != len(documents) {
		t.Fatalf("got %v (%v)", artifacts, err)
	}
	dst := filepath.Join(t.TempDir(), "layout")
	for range 2 { // again, nothing is listed twice
		if err := Add(t.Context(), dst, src, "v1", artifacts...); err != nil {
			t.Fatal(err)
		}
	}
	layout, err := oci.New(dst)
	if err != nil {
		t.Fatal(err)
	}
	tagged, err := layout.Resolve(t.Context(), "v1")
	if err != nil || tagged.Digest != image {
		t.Fatalf("v1 is %v (%v), want %s", tagged, err, image)
	}
	referrers, err := layout.Predecessors(t.Context(), tagged)
	if err != nil || len(referrers) != len(documents) {
		t.Fatalf("got %v (%v), want two", referrers, err)
	}
	found := map[string]string{}
	for _, r := range referrers {
		var m imgspec.Manifest
		data, err := content.FetchAll(t.Context(), layout, r)
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil || m.Subject == nil || m.Subject.Digest != image || len(m.Layers) != 1 ||
			m.Config.MediaType != imgspec.MediaTypeEmptyJSON || m.ArtifactType != m.Layers[0].MediaType {
			t.Fatalf("got %s (%v)", data, err)
		}
		text, err := content.FetchAll(t.Context(), layout, m.Layers[0])
		if err != nil {
			t.Fatal(err)
		}
		found[m.ArtifactType+" "+m.Layers[0].Annotations[imgspec.AnnotationTitle]] = string(text)
	}
	for _, d := range documents {
		if found[d.Type+" "+d.Name] != string(d.Data) {
			t.Errorf("no %s among %v", d.Name, found)
		}
	}
	diskimagetest.Run(t, diskimagetest.Tool(t, "skopeo"), "inspect", "--override-os=linux", "--override-arch=arm",
		"--override-variant=v7", "oci:"+dst+":v1")
	r, err := OpenLayout(t.Context(), dst, Choice{TempDir: t.TempDir()})
	if err != nil {
		t.Fatalf("without a name: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestArtifactsGoWithTheirImage(t *testing.T) {
	t.Parallel()
	dst := filepath.Join(t.TempDir(), "layout")
	add := func(text, name string) {
		t.Helper()
		src, _ := newLayout(t, Compression{Method: "gzip"}, text)
		artifacts, err := (&Layout{dir: src}).Attach(then, []Document{{"application/spdx+json", text, []byte(text)}})
		if err == nil {
			err = Add(t.Context(), dst, src, name, artifacts...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("first", "v1")
	add("second", "v1")
	add("third", "v2")
	index, err := readIndex(dst)
	if err != nil || len(index.Manifests) != 4 {
		t.Fatalf("got %+v (%v), want two images with an artifact each", index.Manifests, err)
	}
	// Somebody has removed the blob of an artifact.
	for _, d := range index.Manifests {
		if isArtifact(d) {
			if err := os.Remove(blobFile(dst, d.Digest)); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	add("fourth", "v3")
	if index, err = readIndex(dst); err != nil || len(index.Manifests) != 5 {
		t.Errorf("got %+v (%v), want three images with two artifacts", index.Manifests, err)
	}
	// A damaged one is an error, and changes nothing.
	for _, d := range index.Manifests {
		if isArtifact(d) {
			if err := os.WriteFile(blobFile(dst, d.Digest), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	src, _ := newLayout(t, Compression{Method: "gzip"}, "fifth")
	if err := Add(t.Context(), dst, src, "v4"); err == nil || !strings.Contains(err.Error(), "digest mismatch") {
		t.Errorf("a damaged artifact: got %v", err)
	}
}
