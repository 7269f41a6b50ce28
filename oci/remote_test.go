// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// packedTar writes a compressed tar archive to a file and returns it with the digest of the
// uncompressed archive.
func packedTar(t *testing.T, name string, plain []byte) types.PackedSnapshot {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "layer")
	writeTestFile(t, file, out.Bytes())
	return types.PackedSnapshot{Name: name, Labels: map[string]string{"name": name}, File: file,
		DiffID: digest.FromBytes(plain)}
}

// secondArchive returns a layer that removes /pong of testArchive and adds /new.
func secondArchive(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range []string{".wh.pong", "new"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestImportMakesSnapshotsOfLayers(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			e := openEngineAt(t, t.TempDir(), driver)
			first, second := packedTar(t, "localhost/test:1", testArchive(t)),
				packedTar(t, "localhost/test:2", secondArchive(t))
			if err := e.Import(t.Context(), "", []types.PackedSnapshot{first, second}); err != nil {
				t.Fatal(err)
			}
			third := packedTar(t, "localhost/test:3", secondArchive(t))
			if err := e.Import(t.Context(), first.Name, []types.PackedSnapshot{third}); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string][]string{
				first.Name: {"etc", "ping", "pong"}, second.Name: {"etc", "new", "ping"},
				third.Name: {"etc", "new", "ping"},
			} {
				c, err := e.From(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				entries, err := c.ReadDir("/")
				var got []string
				for _, e := range entries {
					got = append(got, e.Name())
				}
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%s holds %v (%v), want %v", name, got, err, want)
				}
				for _, file := range []string{"/etc/shadow", "/etc/link"} {
					info, err := c.Lstat(file)
					if err != nil {
						t.Fatal(err)
					}
					if gid := info.Sys().(*syscall.Stat_t).Gid; gid != 42 {
						t.Errorf("%s belongs to the group %d", file, gid)
					}
				}
				attribute, value := acl.Default, make([]byte, 64)
				if here.Isolation == host.IsolationSingle {
					attribute, _ = ownerxattr.ForACL(acl.Default)
				}
				if n, err := unix.Lgetxattr(filepath.Join(c.Root(), "etc"), attribute, value); err != nil ||
					string(value[:n]) != defaultACL {
					t.Errorf("%s: the access control list of /etc is %q (%v)", name, value[:max(n, 0)], err)
				}
				if name == first.Name && here.Isolation != host.IsolationSingle {
					checkUnpacked(t, c.Root())
				}
				labels, err := e.Labels(name)
				if err := errors.Join(err, c.Close()); err != nil || labels["name"] != name {
					t.Errorf("labels %v (%v)", labels, err)
				}
			}
		})
	}
}

func TestImportRejectsADigestMismatch(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	good, bad := packedTar(t, "localhost/test:1", testArchive(t)), packedTar(t, "localhost/test:2", secondArchive(t))
	bad.DiffID = good.DiffID
	if err := e.Import(t.Context(), "", []types.PackedSnapshot{good, bad}); err == nil ||
		!strings.Contains(err.Error(), good.DiffID.String()) {
		t.Errorf("got %v", err)
	}
	if !e.Has(good.Name) || e.Has(bad.Name) {
		t.Error("the wrong snapshots are there")
	}
	if layers, err := e.store.Layers(); err != nil || len(layers) != 1 {
		t.Errorf("there are %d layers (%v)", len(layers), err)
	}
	if err := e.Import(t.Context(), "localhost/test:9", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("above a missing snapshot: %v", err)
	}
}

func TestImagesAreInspectedAndTheirLayersFetched(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	dir, _ := testLayout(t)
	_, environ := home(t)
	host := ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), false)
	copied := types.ImageCopy{Layout: dir, Destination: "docker://" + host + "/os/debian:13", Environ: environ,
		SkipTLSVerify: true}
	if err := e.CopyImage(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	for name, missing := range map[string][]string{
		copied.Destination: {"docker://" + host + "/os/debian:12", "docker://" + host + "/os/none:13"},
		"oci:" + dir:       {"oci:" + dir + ":12"},
	} {
		src := types.ImageSource{Name: name, Environ: environ, SkipTLSVerify: true}
		image, err := e.InspectImage(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		want := digest.FromBytes(testArchive(t))
		if len(image.Layers) != 1 || image.Layers[0].DiffID != want {
			t.Errorf("%s: got %+v", name, image)
		}
		to := t.TempDir()
		if err := e.FetchLayers(t.Context(), src, image.Layers, to); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(to, want.Encoded())); err != nil || digest.FromBytes(data) != want {
			t.Errorf("%s: the layer differs (%v)", name, err)
		}
		for _, other := range missing {
			src.Name = other
			if _, err := e.InspectImage(t.Context(), src); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: got %v", other, err)
			}
		}
	}
	for _, wrong := range []string{"oci:" + dir + "/none:12", "docker://127.0.0.1:1/x:1"} {
		if _, err := e.InspectImage(t.Context(), types.ImageSource{Name: wrong, Environ: environ}); err == nil ||
			errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
}

func TestDamagedLayersAreRejected(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	dir, _ := testLayout(t)
	src := types.ImageSource{Name: "oci:" + dir}
	image, err := e.InspectImage(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blobs", "sha256", image.Layers[0].Digest.Encoded())
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	for what, damaged := range map[string][]byte{"changed": data, "short": data[:100],
		"long": append(slices.Clone(data), 0)} {
		writeTestFile(t, blob, damaged)
		if err := e.FetchLayers(t.Context(), src, image.Layers, t.TempDir()); err == nil ||
			!strings.Contains(err.Error(), "digest") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}
