// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// sharingEngine has images at a --cache-from remote, and records the requests.
type sharingEngine struct {
	snapshottest.Engine
	images    map[string]types.RemoteImage
	down      error
	inspected int
	base      string
	imported  []string
	damaged   bool // no layer can be put on what is in the store
}

func (e *sharingEngine) InspectImage(_ context.Context, src types.ImageSource) (types.RemoteImage, error) {
	e.inspected++
	image, ok := e.images[src.Name]
	if e.down != nil || ok {
		return image, e.down
	}
	return image, fs.ErrNotExist
}

func (e *sharingEngine) FetchLayers(_ context.Context, _ types.ImageSource, layers []types.RemoteLayer,
	dir string) error {
	var errs []error
	for _, l := range layers {
		errs = append(errs, os.WriteFile(filepath.Join(dir, l.Digest.Encoded()), nil, 0o600))
	}
	return errors.Join(errs...)
}

func (e *sharingEngine) Import(_ context.Context, base string, snapshots []types.PackedSnapshot) error {
	if e.damaged && base != "" {
		e.All = slices.DeleteFunc(e.All, func(s types.Snapshot) bool { return s.Name == base })
		return fs.ErrNotExist
	}
	e.base = base
	for _, s := range snapshots {
		if _, err := os.Stat(s.File); err != nil {
			return err
		}
		chain, err := readChain(s.Labels)
		if err != nil {
			return err
		}
		e.imported = append(e.imported, chain[len(chain)-1].Kind)
		e.All = append(e.All, types.Snapshot{Name: s.Name, Labels: s.Labels})
	}
	return nil
}

func (e *sharingEngine) Scratch(context.Context) (target.Rootfs, error) {
	return &targettest.Target{}, nil
}
func (e *sharingEngine) From(_ context.Context, name string) (target.Rootfs, error) {
	_, err := e.Labels(name)
	return &targettest.Target{}, err
}

// sharedBuild returns the images of all snapshots of a build, with a layer for each step whose result is kept.
func sharedBuild(t *testing.T, remote Remote, c cacheTest, used ...string) map[string]types.RemoteImage {
	t.Helper()
	e := &snapshottest.Engine{}
	c.build(t, e, used...)
	images := map[string]types.RemoteImage{}
	var image types.RemoteImage
	for i, s := range slices.Backward(e.All) { // the newest was first
		text := fmt.Sprintf("layer %d of %p", len(e.All)-i, e)
		image.Layers = append(slices.Clone(image.Layers), types.RemoteLayer{Digest: digest.FromString(text),
			DiffID: digest.FromString(text)})
		image.Labels = s.Labels
		var names []string
		for n := range image.Layers {
			names = append(names, fmt.Sprintf("L%d", n))
		}
		image.Labels[labelLayers] = strings.Join(names, " ")
		images[remote.image(s.Name)] = image
	}
	return images
}

func TestBeginUsesLongestSharedChain(t *testing.T) {
	t.Parallel()
	remote := Remote{"oci", "/share"}
	dirWith := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "motd"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	there := newCacheTest()
	there.dir = dirWith("hello")
	for name, tt := range map[string]struct {
		here   func(c *cacheTest, e *sharingEngine)
		last   string // kind of the last step that need not run
		got    string // kinds of the snapshots that were got
		warned string
	}{
		"all of it": {func(*cacheTest, *sharingEngine) {}, "hook", "debootstrap apt.install hook hook", ""},
		"another hook": {func(c *cacheTest, _ *sharingEngine) { c.hooks = []string{"h1", "h3"} }, "hook",
			"debootstrap apt.install hook", ""},
		"another file": {func(c *cacheTest, _ *sharingEngine) { c.dir = dirWith("goodbye") }, "apt.install",
			"debootstrap apt.install", ""},
		"another suite": {func(c *cacheTest, _ *sharingEngine) { c.inRelease = "cc" }, "", "", ""},
		"another seed": {func(c *cacheTest, _ *sharingEngine) { c.seed[0] = 9 }, "hook",
			"debootstrap apt.install hook hook", ""},
		"without cache": {func(c *cacheTest, _ *sharingEngine) { c.rebuild = true }, "", "", ""},
		"not reachable": {func(_ *cacheTest, e *sharingEngine) { e.down = errors.New("no route") }, "", "", "no route"},
		"with the base here": {func(c *cacheTest, e *sharingEngine) {
			c.build(t, &e.Engine, filepath.Join(c.dir, "motd"))
			e.All = e.All[len(e.All)-2:]
			e.All[1].Labels[labelLayers], e.All[0].Labels[labelLayers] = "L0", "L0 other"
		}, "hook", "apt.install hook hook", ""},
		"with a damaged base here": {func(c *cacheTest, e *sharingEngine) {
			c.build(t, &e.Engine, filepath.Join(c.dir, "motd"))
			e.All = e.All[len(e.All)-1:]
			e.All[0].Labels[labelLayers], e.damaged = "L0", true
		}, "hook", "debootstrap apt.install hook hook", ""},
		"that lies": {func(_ *cacheTest, e *sharingEngine) {
			var first string
			for name, image := range e.images {
				if len(image.Layers) == 1 {
					first = name
				}
			}
			for name, image := range e.images {
				if name != first {
					e.images[first] = image
				}
			}
		}, "", "", "does not match its name"},
		"that lacks a layer": {func(_ *cacheTest, e *sharingEngine) {
			for name, image := range e.images {
				e.images[name] = types.RemoteImage{Labels: image.Labels, Layers: image.Layers[1:]}
			}
		}, "", "", "has 3 layers, but its labels name 4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, e := there, &sharingEngine{images: sharedBuild(t, remote, there, filepath.Join(there.dir, "motd"))}
			here.dir = dirWith("hello") // the same file elsewhere
			here.hooks = slices.Clone(here.hooks)
			tt.here(&here, e)
			store := here.store(e, nil)
			store.TempDir, store.Settings.From = t.TempDir(), []Remote{remote}
			var warned []string
			store.Settings.Warn = func(text string) { warned = append(warned, text) }
			s, _, err := store.Begin(t.Context(), here.steps())
			if err != nil {
				t.Fatal(err)
			}
			last := ""
			if len(s.Entries) > 0 {
				last = s.Entries[len(s.Entries)-1].Kind
			}
			if got := strings.Join(e.imported, " "); last != tt.last || got != tt.got {
				t.Errorf("continues after %q and pulled %q, want %q and %q", last, got, tt.last, tt.got)
			}
			if wantBase := name == "with the base here"; (e.base != "") != wantBase {
				t.Errorf("pulled above %q", e.base)
			}
			if text := strings.Join(warned, "\n"); len(warned) > 1 || (text == "") != (tt.warned == "") ||
				!strings.Contains(text, tt.warned) {
				t.Errorf("warned with %q, want %q", text, tt.warned)
			}
			if here.rebuild && e.inspected > 0 {
				t.Error("the remote was used although the user has forbidden it")
			}
		})
	}
}

func TestFirstSharingBuildHasNoWarning(t *testing.T) {
	t.Parallel()
	remote := Remote{"oci", filepath.Join(t.TempDir(), "share")}
	e := &sharingEngine{down: errors.New("no such file")}
	store := New(Config{
		Engine: e, Log: slog.New(slog.DiscardHandler), Settings: Settings{From: []Remote{remote}, To: []Remote{remote}},
	})
	for s := range store.shared(t.Context(), "name", "title") {
		t.Errorf("found %v", s)
	}
	if e.inspected > 0 {
		t.Error("a directory that is not there was looked at")
	}
}

func TestParseRemote(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"oci:/srv/share": "",
		"oci:share/":     "",
		"docker://registry.example:5000/os/cache": "",
		"docker://localhost/cache":                "",
		"oci:":                                    "names no directory",
		"oci:dir:tag":                             "tags are chosen by the cache",
		"docker://registry.example/cache:tag":     "tags are chosen by the cache",
		"docker://cache":                          "names no registry",
		"docker:registry.example/cache":           "docker://REGISTRY/REPO",
		"docker://registry.example/Cache":         "invalid repository name",
		"registry.example/cache":                  "unknown location",
		"dir:share":                               "unknown location",
	} {
		r, err := ParseRemote(text)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", text, err, want)
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "":
			again, err := ParseRemote(r.String())
			if err != nil || again != r {
				t.Errorf("%s: %q is read as %v (%v)", text, r, again, err)
			}
		}
	}
	r := Remote{"docker", "registry.example/cache"}
	if got, want := r.image(StepPrefix+"abc"), "docker://registry.example/cache:step-abc"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSingleSnapshotsArePulledOnce(t *testing.T) {
	t.Parallel()
	remote, name := Remote{"oci", "/share"}, NamePrefix+"made:1"
	e := &singleEngine{sharingEngine{images: map[string]types.RemoteImage{remote.image(
		name): {Layers: make([]types.RemoteLayer, 1)}}}}
	e.images[remote.image(name)].Layers[0] = types.RemoteLayer{Digest: digest.FromString("x"),
		DiffID: digest.FromString("x")}
	store := New(Config{Engine: e, TempDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	store.Settings.From, store.Settings.Warn = []Remote{remote}, func(text string) { t.Error(text) }
	for range 2 {
		if _, _, err := store.fromOne(t.Context(), name, "title"); err != nil {
			t.Error(err)
		}
	}
	if e.inspected != 1 {
		t.Errorf("the remote got %d requests", e.inspected)
	}
	if _, _, err := store.fromOne(t.Context(), NamePrefix+"made:other", "title"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// singleEngine imports snapshots without chains.
type singleEngine struct{ sharingEngine }

func (e *singleEngine) Import(_ context.Context, _ string, snapshots []types.PackedSnapshot) error {
	e.All = append(e.All, types.Snapshot{Name: snapshots[0].Name, Labels: snapshots[0].Labels})
	return nil
}
