// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

func TestPullDownloadsAnImageForOneArchitecture(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	layout, manifest := testLayout(t)
	dir, environ := home(t)
	host := ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), false)
	name := "docker://" + host + "/os/debian:13"
	if err := e.CopyImage(t.Context(), types.ImageCopy{Layout: layout, Destination: name, Environ: environ,
		SkipTLSVerify: true}); err != nil {
		t.Fatal(err)
	}
	p := registry.ImagePull{Source: name, Dir: filepath.Join(dir, "images"), Architecture: "amd64", SkipTLSVerify: true}
	// Leftovers of killed processes are removed; directories of live processes stay.
	left := filepath.Join(p.Dir, registry.PullPrefix+"left")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	var last int64
	p.Progress = func(bytes int64) { last = bytes }
	pulled, remove, err := registry.Pull(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if want := layerBytes(t, layout, manifest); last < want {
		t.Errorf("got %d bytes of layers, want %d", last, want)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(pulled, "blobs", "sha256", manifest.Encoded())); err != nil {
		t.Error(err)
	}
	_, removeOther, err := registry.Pull(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pulled); err != nil {
		t.Error(err)
	}
	if err := errors.Join(remove(), removeOther()); err != nil {
		t.Error(err)
	}
	p.SkipTLSVerify = false
	if _, _, err := registry.Pull(t.Context(), p); err == nil || !strings.Contains(err.Error(), "get "+name) {
		t.Errorf("without TLS: got %v", err)
	}
	if all, err := os.ReadDir(p.Dir); err != nil || len(all) > 0 {
		t.Errorf("left over: %v, %v", all, err)
	}
}
