package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// exported makes a container of two snapshots, the second of which removes a file of the first.
func exported(t *testing.T) *Container {
	t.Helper()
	c, err := openEngine(t).Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		c.MkdirAll("/etc", 0o755), c.WriteFile("/etc/secret", nil, 0o600), c.WriteFile("/etc/shadow", []byte("x"), 0o640), c.Lchown("/etc/shadow", 0, 42),
		c.Snapshot(t.Context(), "first", nil), c.Remove("/etc/secret"),
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tarFiles reads the headers of a tar archive.
func tarFiles(t *testing.T, r io.Reader) map[string]*tar.Header {
	t.Helper()
	files := map[string]*tar.Header{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(h.Name, "/")] = h
	}
}

// The tests of Export are not parallel: it changes TMPDIR, by which others make their directories.

func TestExportWritesAnOCIImageOfOneLayer(t *testing.T) {
	for _, compression := range []string{"", "gzip", "zstd"} {
		t.Run("compression "+compression, func(t *testing.T) {
			c := exported(t)
			dir := filepath.Join(t.TempDir(), "image")
			created := time.Unix(1700000000, 0).UTC()
			digest, err := c.Export(t.Context(), ExportOptions{
				Format: "oci", Path: dir, Name: "debian:test", Compression: compression, Architecture: "arm64", Created: created,
				Env: map[string]string{"LANG": "C.UTF-8"}, Cmd: []string{"/bin/bash"},
			})
			if err != nil {
				t.Fatal(err)
			}
			blob := func(d string) []byte {
				t.Helper()
				data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(d, "sha256:")))
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			var manifest imgspec.Manifest
			if err := json.Unmarshal(blob(digest), &manifest); err != nil || len(manifest.Layers) != 1 {
				t.Fatalf("got %+v (%v), want one layer", manifest, err)
			}
			var config imgspec.Image
			if err := json.Unmarshal(blob(manifest.Config.Digest.String()), &config); err != nil {
				t.Fatal(err)
			}
			if config.Architecture != "arm64" || config.OS != "linux" || config.Created == nil || !config.Created.Equal(created) ||
				!slices.Equal(config.Config.Cmd, []string{"/bin/bash"}) || !slices.Contains(config.Config.Env, "LANG=C.UTF-8") {
				t.Errorf("got %+v", config)
			}
			var layer io.Reader = bytes.NewReader(blob(manifest.Layers[0].Digest.String()))
			switch compression {
			case "gzip":
				if layer, err = gzip.NewReader(layer); err != nil {
					t.Fatal(err)
				}
			case "zstd":
				d, err := zstd.NewReader(layer)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				layer = d
			}
			files := tarFiles(t, layer)
			if h := files["etc/shadow"]; h == nil || h.Gid != 42 || h.Mode != 0o640 {
				t.Errorf("got %+v", h)
			}
			if files["etc/secret"] != nil || files["etc/.wh.secret"] != nil {
				t.Error("the removed file is told of")
			}
			// What the export needed is gone, and the container is not.
			if _, err := c.Lstat("/etc/shadow"); err != nil {
				t.Error(err)
			}
			if all, err := c.engine.Snapshots(); err != nil || !slices.Equal(snapshotNames(all), []string{"first"}) {
				t.Errorf("got snapshots %v (%v)", all, err)
			}
			if containers, err := c.engine.store.Containers(); err != nil || len(containers) != 0 {
				t.Errorf("left are %v (%v)", containers, err)
			}
		})
	}
}

func TestExportWritesArchives(t *testing.T) {
	for format, want := range map[string]string{"oci-archive": "oci-layout", "docker-archive": "manifest.json"} {
		t.Run(format, func(t *testing.T) {
			c := exported(t)
			file := filepath.Join(t.TempDir(), "image.tar")
			_, err := c.Export(t.Context(), ExportOptions{Format: format, Path: file, Name: "localhost/debian:test", Architecture: "amd64"})
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if files := tarFiles(t, f); files[want] == nil {
				t.Errorf("no %s in %v", want, files)
			}
		})
	}
}

func TestExportRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	c := exported(t)
	for _, o := range []ExportOptions{{Format: "zip", Path: "/x"}, {Format: "oci", Path: "/x", Compression: "xz"}} {
		if _, err := c.Export(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}
