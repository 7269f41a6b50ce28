// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// readNamesOf returns the names of the tree that an image's layers make.
func readNamesOf(t *testing.T, r *Reading, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := diskimage.NewLayerTree(r.Layers...)
	if err != nil {
		t.Fatal(err)
	}
	names := entryNames(t, tree)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	return names
}

// wholeImage is the content of newLayout's image.
var wholeImage = []string{".", "etc", "etc/issue", "etc/passwd"}

func TestOpenReadsWrittenImages(t *testing.T) {
	t.Parallel()
	for method := range mediaTypes {
		dir, _ := newLayout(t, Compression{Method: method}, "x")
		c := Choice{TempDir: t.TempDir()}
		r, err := OpenLayout(t.Context(), dir, c)
		if got := readNamesOf(t, r, err); !slices.Equal(got, wholeImage) {
			t.Errorf("%s: got %q", method, got)
		}
		var archive bytes.Buffer
		if err := WriteArchive(t.Context(), &archive, dir, "name", then); err != nil {
			t.Fatal(err)
		}
		for _, c.Name = range []string{"", "name"} {
			r, err = OpenArchive(t.Context(), bytes.NewReader(archive.Bytes()), int64(archive.Len()), c)
			if got := readNamesOf(t, r, err); !slices.Equal(got, wholeImage) {
				t.Errorf("%s, archive: got %q", method, got)
			}
		}
		if left, err := os.ReadDir(c.TempDir); err != nil || len(left) > 0 {
			t.Errorf("%s: temporary files remain: %v, %v", method, left, err)
		}
	}
}

func TestOpenChoosesByNameAndPlatform(t *testing.T) {
	t.Parallel()
	dir, _ := newLayout(t, Compression{Method: tarfile.None}, "x")
	index, err := readIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest := index.Manifests[0]
	other := manifest
	other.Platform, other.Digest, other.Size = &imgspec.Platform{OS: "linux", Architecture: "amd64"},
		digest.FromString("other"), 5
	attestation := other
	attestation.Platform = &imgspec.Platform{OS: "unknown", Architecture: "unknown"}
	data, err := json.Marshal(imgspec.Index{MediaType: imgspec.MediaTypeImageIndex,
		Manifests: []imgspec.Descriptor{attestation, other, manifest}})
	if err != nil {
		t.Fatal(err)
	}
	inner := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageIndex, Digest: digest.FromBytes(data),
		Size: int64(len(data))}
	if err := os.WriteFile(blobFile(dir, inner.Digest), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeIndex(dir, append(named([]imgspec.Descriptor{inner}, "all"),
		named([]imgspec.Descriptor{manifest}, "arm")...)); err != nil {
		t.Fatal(err)
	}
	arm := imgspec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	for _, c := range []Choice{{Name: "all", Platform: arm}, {Name: "arm"}} {
		r, err := OpenLayout(t.Context(), dir, c)
		if got := readNamesOf(t, r, err); !slices.Equal(got, wholeImage) {
			t.Errorf("%+v: got %q", c, got)
		}
	}
	for want, c := range map[string]Choice{
		`no image "none"; the index has: all, arm`: {Name: "none"},
		"no image for linux/s390x; the index has: unknown/unknown, linux/amd64, linux/arm": {Name: "all",
			Platform: imgspec.Platform{OS: "linux", Architecture: "s390x"}},
		"the index has: linux/arm": {Platform: imgspec.Platform{OS: "linux", Architecture: "s390x"}},
	} {
		if _, err := OpenLayout(t.Context(), dir, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestOpenRejectsDamagedImages(t *testing.T) {
	t.Parallel()
	for _, method := range []tarfile.Method{tarfile.None, tarfile.Gzip} {
		dir, d := newLayout(t, Compression{Method: method}, "x")
		manifest, _ := readManifest(t, dir, d)
		for what, name := range map[string]digest.Digest{"layer 2": manifest.Layers[1].Digest,
			"configuration": manifest.Config.Digest, "manifest": d} {
			file := blobFile(dir, name)
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			damaged := bytes.Clone(whole)
			damaged[len(damaged)/3] ^= 1
			for _, data := range [][]byte{damaged, whole[:len(whole)*2/3], {}} {
				if err := os.WriteFile(file, data, 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := OpenLayout(t.Context(), dir, Choice{TempDir: t.TempDir()}); err == nil ||
					!strings.HasPrefix(err.Error(), what) {
					t.Errorf("%s, %s with %d bytes: got %v", method, what, len(data), err)
				}
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenLayout(t.Context(), dir, Choice{TempDir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) ||
				!strings.HasPrefix(err.Error(), what) {
				t.Errorf("%s, no %s: got %v", method, what, err)
			}
			if err := os.WriteFile(file, whole, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := OpenLayout(t.Context(), t.TempDir(), Choice{}); err == nil ||
		!strings.HasPrefix(err.Error(), "not an OCI image layout") {
		t.Errorf("an empty directory: got %v", err)
	}
}

// A digest is part of a file name, and is untrusted.
func TestDigestsCannotLeaveLayout(t *testing.T) {
	t.Parallel()
	dir, d := newLayout(t, Compression{Method: tarfile.None}, "x")
	manifest, _ := readManifest(t, dir, d)
	manifest.Layers[0].Digest = "sha256:../../../../etc/passwd"
	data, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	bad := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.FromBytes(data),
		Size: int64(len(data))}
	if err := errors.Join(os.WriteFile(blobFile(dir, bad.Digest), data, 0o644),
		writeIndex(dir, []imgspec.Descriptor{bad})); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLayout(t.Context(), dir, Choice{}); !errors.Is(err, digest.ErrDigestInvalidLength) {
		t.Errorf("got %v", err)
	}
}

// dockerSave returns an archive of "docker save" before version 25, where a repeated layer is a link.
func dockerSave(t *testing.T, tags ...string) []byte {
	t.Helper()
	layers := [][]byte{}
	for _, tree := range []diskimage.Tree{
		dirTree(t, "etc/", "etc/passwd root", "old 1"),
		Difference(dirTree(t, "etc/", "etc/passwd root", "old 1"),
			dirTree(t, "etc/", "etc/passwd root", "etc/issue x")),
	} {
		var b bytes.Buffer
		if err := tarfile.Write(t.Context(), &b, tree); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, b.Bytes())
	}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q,%q,%q]}}`,
		digest.FromBytes(layers[0]), digest.FromBytes(layers[1]), digest.FromBytes(layers[1]))
	repoTags, err := json.Marshal(tags)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, data string) {
		h.Size, h.Mode = int64(len(data)), 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "config.json"}, config)
	add(tar.Header{Name: "one/layer.tar"}, string(layers[0]))
	add(tar.Header{Name: "two/layer.tar"}, string(layers[1]))
	add(tar.Header{Name: "three/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../two/layer.tar"}, "")
	add(tar.Header{Name: "manifest.json"},
		fmt.Sprintf(`[{"Config":"config.json","RepoTags":%s,
			"Layers":["one/layer.tar","two/layer.tar","three/layer.tar"]}]`, repoTags))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestOpenDockerArchiveReadsImages(t *testing.T) {
	t.Parallel()
	archive := dockerSave(t, "debian:13", "registry.example/debian:13")
	open := func(data []byte, name string) (*Reading, error) {
		return OpenDockerArchive(t.Context(), bytes.NewReader(data), int64(len(data)),
			Choice{Name: name, TempDir: t.TempDir()})
	}
	for _, name := range []string{"", "debian:13", "docker.io/library/debian:13", "registry.example/debian:13"} {
		r, err := open(archive, name)
		if got := readNamesOf(t, r, err); !slices.Equal(got, wholeImage) {
			t.Errorf("%q: got %q", name, got)
		}
	}
	if _, err := open(archive, "debian:12"); err == nil ||
		!strings.Contains(err.Error(), "the archive has: debian:13, registry.example/debian:13") {
		t.Errorf("another name: got %v", err)
	}
	damaged := bytes.Replace(archive, []byte("root\x00"), []byte("toor\x00"), 1)
	if _, err := open(damaged, ""); err == nil || !strings.Contains(err.Error(), "layer 1 (one/layer.tar)") {
		t.Errorf("damaged: got %v", err)
	}
	dir, _ := newLayout(t, Compression{Method: tarfile.None}, "x")
	var layout bytes.Buffer
	if err := WriteArchive(t.Context(), &layout, dir, "", then); err != nil {
		t.Fatal(err)
	}
	if _, err := open(layout.Bytes(), ""); err == nil ||
		!strings.HasPrefix(err.Error(), "not an archive of docker save") {
		t.Errorf("another kind of archive: got %v", err)
	}
}
