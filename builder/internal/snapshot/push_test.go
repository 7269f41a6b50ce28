// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// registryEngine is a registry: images that are copied to it can be inspected.
type registryEngine struct {
	sharingEngine
	sent []string // tag and number of layers that were sent
	fail error
}

func (e *registryEngine) CopyImage(_ context.Context, c types.ImageCopy) error {
	if e.fail != nil {
		return e.fail
	}
	read := func(name string, v any) error {
		data, err := os.ReadFile(filepath.Join(c.Layout, name))
		if err != nil {
			return err
		}
		return json.Unmarshal(data, v)
	}
	blob := func(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }
	var index imgspec.Index
	var manifest imgspec.Manifest
	var config imgspec.Image
	if err := read("index.json", &index); err != nil {
		return err
	}
	if err := read(blob(index.Manifests[0].Digest), &manifest); err != nil {
		return err
	}
	if err := read(blob(manifest.Config.Digest), &config); err != nil {
		return err
	}
	image, sent := types.RemoteImage{Labels: config.Config.Labels, Config: manifest.Config.Digest,
		Annotations: manifest.Annotations}, 0
	for i, l := range manifest.Layers {
		image.Layers = append(image.Layers, types.RemoteLayer{
			MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, DiffID: config.RootFS.DiffIDs[i],
		})
		if _, err := os.Stat(filepath.Join(c.Layout, blob(l.Digest))); err == nil {
			sent++
		}
	}
	_, tag, _ := strings.Cut(strings.TrimPrefix(c.Destination, "docker://"), ":")
	e.sent = append(e.sent, fmt.Sprintf("%s: %d of %d", tag[:5], sent, len(image.Layers)))
	e.images[c.Destination] = image
	return nil
}

// states is a root file system with a different state at each snapshot.
type states struct {
	*targettest.Target
	all []*targettest.Target
}

func (s states) Before(_ context.Context, n int) (target.Rootfs, error) { return s.all[n-1], nil }

// finished returns the chain of a finished build.
func finished(t *testing.T, c cacheTest, e *registryEngine, remote Remote) *Chain {
	t.Helper()
	store := c.store(e, nil)
	store.TempDir, store.Settings.To = t.TempDir(), []Remote{remote}
	chain := store.Resume(Start{}, nil, c.seed)
	before, all := store.firstDigest(), []*targettest.Target{}
	for _, step := range c.steps() {
		l, err := store.newEntry(before, step, nil)
		if err != nil {
			t.Fatal(err)
		}
		chain.entries, before = append(chain.entries, l), l.Digest
		if step.Kept() {
			n := len(all)
			chain.layers = append(chain.layers, fmt.Sprintf("%s-%d", l.Content.short(), n))
			all = append(all, targettest.New(t, map[string]string{fmt.Sprintf("/file%d", n): string(l.Content)}))
		}
	}
	chain.target = states{targettest.New(t, nil), all}
	return chain
}

func TestPushSendsOnlyNewLayers(t *testing.T) {
	t.Parallel()
	remote := Remote{"docker", "registry.example/cache"}
	e := &registryEngine{sharingEngine: sharingEngine{images: map[string]types.RemoteImage{}}}
	c := newCacheTest()
	share := func(change func(*Chain), want ...string) {
		t.Helper()
		e.sent = nil
		r := finished(t, c, e, remote)
		change(r)
		if err := r.Push(t.Context(), ociimage.Image{}, nil); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.sent, want) {
			t.Errorf("sent %q, want %q", e.sent, want)
		}
	}
	as := func(*Chain) {}
	share(as, "step-: 1 of 1", "step-: 1 of 2", "step-: 1 of 3", "step-: 1 of 4")
	share(as)
	c.hooks = []string{"h1", "h3"}
	share(as, "step-: 1 of 4")
	// The same steps of another build have other layers. These are pushed together; existing images stay.
	c.hooks = []string{"h1", "h4"}
	share(func(c *Chain) {
		for i := range c.layers {
			c.layers[i] = "other"
		}
	}, "step-: 4 of 4")
	c.rebuild = true
	share(func(c *Chain) { c.layers[3] = "new" }, "step-: 1 of 4")
	e.fail = os.ErrPermission
	if err := finished(t, c, e, remote).Push(t.Context(), ociimage.Image{}, nil); err == nil ||
		!strings.Contains(err.Error(), remote.String()) {
		t.Errorf("got %v", err)
	}
}
