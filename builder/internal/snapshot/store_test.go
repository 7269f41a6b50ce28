// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// keeper is a target whose snapshots go to the engine, the newest first.
type keeper struct {
	*targettest.Target
	engine *snapshottest.Engine
}

func (k keeper) Snapshot(_ context.Context, name string, labels map[string]string) error {
	k.engine.All = slices.Insert(k.engine.All, 0, types.Snapshot{Name: name, Labels: labels})
	return nil
}

// cacheTest is a build with two hooks and the inputs that can change.
type cacheTest struct {
	inRelease, hostname, password string
	packages, hooks               []string
	seed                          uuid.UUID
	environ                       []string
	version                       func(kind string) string
	epoch                         []string
	rebuild                       bool
	dir                           string
	records                       string
}

func newCacheTest() cacheTest {
	return cacheTest{
		inRelease: "aa", hostname: "debian", password: "first", packages: []string{"linux-image-amd64"},
		hooks:   []string{"h1", "h2"},
		seed:    uuid.MustParse("11111111-2222-3333-4444-555555555555"),
		version: func(string) string { return "v1" },
	}
}

func (c cacheTest) store(e Engine, explain func(string)) *Store {
	return New(Config{
		Engine: e, Environ: c.environ, Dir: c.dir, Epoch: c.epoch, Log: slog.New(slog.DiscardHandler),
		Settings: Settings{Version: c.version, Rebuild: c.rebuild, Explain: explain, Records: c.records, Now: time.Now},
	})
}

func (c cacheTest) steps() []Step {
	steps := []Step{
		step.Debootstrap{Suite: "trixie", Arch: "amd64", InRelease: c.inRelease, Tools: "bb"},
		step.AptInstall{Packages: c.packages}, step.Hostname{Hostname: c.hostname},
		step.RootPassword{Password: secret.New(c.password)},
	}
	for i, digest := range c.hooks {
		name := []string{"one", "two"}[i]
		steps = append(steps, step.Hook{Digest: digest, Name: name, Script: "/hooks/" + name})
	}
	return append(steps, step.Clean{})
}

// build adds the snapshots to the engine that a run of all steps would make.
func (c cacheTest) build(t *testing.T, e *snapshottest.Engine, used ...string) {
	t.Helper()
	store := c.store(e, nil)
	chain := store.Resume(Start{}, keeper{targettest.New(t, nil), e}, c.seed)
	before := store.firstDigest()
	for _, step := range c.steps() {
		v, err := store.viewOf(step, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := store.newEntry(before, step, v)
		if err != nil {
			t.Fatal(err)
		}
		store.recordView(v)
		if v != nil {
			o, err := store.newObservation(t.Context(), used, v, store.dirsOf(step))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.observe(o); err != nil {
				t.Fatal(err)
			}
		}
		chain.entries, before = append(chain.entries, l), l.Digest
		if step.Kept() {
			if err := chain.keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// v2Of returns versions that differ from those of newCacheTest for one kind of step.
func v2Of(changed string) func(kind string) string {
	return func(kind string) string {
		if kind == changed {
			return "v2"
		}
		return "v1"
	}
}

func TestBeginUsesLongestUnchangedChain(t *testing.T) {
	t.Parallel()
	dirWith := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "motd"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	same, other := dirWith("hello $GREETING"), dirWith("hello")
	e := &snapshottest.Engine{}
	first := newCacheTest()
	first.environ, first.dir, first.records = []string{"GREETING=a", "OTHER=b"}, dirWith("hello $GREETING"), t.TempDir()
	first.build(t, e, filepath.Join(first.dir, "motd"))

	for _, tt := range []struct {
		name   string
		change func(*cacheTest)
		last   string // kind of the last step that need not run
		hooks  int    // how many hooks need not run
		why    string
	}{
		{"nothing changed", func(*cacheTest) {}, "hook", 2, ""},
		{"other random IDs", func(c *cacheTest) { c.seed[0] = 9 }, "hook", 2, ""},
		{"a variable that nothing names", func(c *cacheTest) { c.environ = []string{"GREETING=a", "OTHER=c", "NEW=1"} },
			"apt.install", 0, "the environment: NEW, OTHER"},
		{"a variable of the session", func(c *cacheTest) { c.environ = append(c.environ, "SHLVL=2", "CI_JOB_ID=7") },
			"hook", 2, ""},
		{"the way to the network",
			func(c *cacheTest) { c.environ = append(c.environ, "http_proxy=http://proxy.example") }, "hook", 2, ""},
		{"the last hook", func(c *cacheTest) { c.hooks = []string{"h1", "h3"} }, "hook", 1,
			"run: customize with /hooks/two: its content changed"},
		{"the first hook", func(c *cacheTest) { c.hooks = []string{"h3", "h2"} }, "apt.install", 0,
			"run: customize with /hooks/one: its content changed"},
		{"a variable that a file names", func(c *cacheTest) { c.environ = []string{"GREETING=c", "OTHER=b"} },
			"apt.install", 0, "the environment: GREETING"},
		{"the same files elsewhere", func(c *cacheTest) { c.dir = same }, "hook", 2, ""},
		{"a file that hooks use", func(c *cacheTest) { c.dir = other }, "apt.install", 0,
			other + "/motd has changed"},
		{"the password", func(c *cacheTest) { c.password = "second" }, "apt.install", 0, "a password has changed"},
		{"the host name", func(c *cacheTest) { c.hostname = "other" }, "apt.install", 0,
			`Hostname was "debian" and is "other"`},
		{"another package", func(c *cacheTest) { c.packages = []string{"less"} }, "debootstrap", 0, "Packages was"},
		{"a new archive", func(c *cacheTest) { c.inRelease = "cc" }, "", 0, `InRelease was "aa" and is "cc"`},
		{"all code", func(c *cacheTest) { c.version = func(string) string { return "v2" } }, "", 0,
			"run: bootstrap trixie for amd64 from : another version of this program ran it"},
		{"the code of hooks", func(c *cacheTest) { c.version = v2Of("hook") }, "apt.install", 0,
			"run: customize with /hooks/one: another version of this program ran it"},
		{"the code of a step before hooks", func(c *cacheTest) { c.version = v2Of("hostname") }, "apt.install", 0,
			"run: customize with /hooks/one: set the host name to debian: another version of this program ran it"},
		{"the code of a step after the last hook", func(c *cacheTest) { c.version = v2Of("clean") }, "hook", 2, ""},
		{"the time", func(c *cacheTest) { c.epoch = []string{"SOURCE_DATE_EPOCH=1"} }, "", 0,
			"SOURCE_DATE_EPOCH has changed"},
		{"not wanted", func(c *cacheTest) { c.rebuild = true }, "", 0, "cached results are not used"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			second := first
			tt.change(&second)
			var said []string
			store := second.store(e, func(text string) { said = append(said, text) })
			steps := second.steps()
			s, err := store.find(t.Context(), steps)
			if err != nil {
				t.Fatal(err)
			}
			last, hooks := "", 0
			for _, l := range s.Entries {
				if last = l.Kind; last == "hook" {
					hooks++
				}
			}
			if last != tt.last || hooks != tt.hooks {
				t.Errorf("continues after %q and %d hooks, want %q and %d", last, hooks, tt.last, tt.hooks)
			}
			if (s.Snapshot == "") != (tt.last == "") {
				t.Errorf("snapshot %q", s.Snapshot)
			}
			if err := store.explain(t.Context(), steps, s); err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, tt.why) ||
				strings.Contains(text, "run:") != (tt.why != "") {
				t.Errorf("explained by %q, want %q in it", text, tt.why)
			}
			if strings.Contains(strings.Join(said, "\n"), "second") {
				t.Error("the password is in the explanation")
			}
		})
	}
}

func TestDigestsHideSecrets(t *testing.T) {
	t.Parallel()
	l, err := New(Config{}).newEntry("", step.AddUser{User: step.ParseUser("alice/hunter2")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", l) + string(l.Inputs); strings.Contains(text, "hunter2") || l.Secrets == "" {
		t.Errorf("got %s", text)
	}
	other, err := New(Config{}).newEntry("", step.AddUser{User: step.ParseUser("alice/hunter3")}, nil)
	if err != nil || other.Content == l.Content {
		t.Errorf("two passwords have one digest (%v)", err)
	}
}

func TestObserverSeesOpenedAndChangedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	for _, f := range []string{"sub/used", "sub/unused", "log"} {
		if err := os.MkdirAll(filepath.Dir(name(f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name(f), []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	watch := func(do func() error) (usage, error) {
		t.Helper()
		use, unknown, err := observe([]string{dir, name("sub")}, t.TempDir(), do)
		if err != nil {
			t.Fatal(err)
		}
		return use, unknown
	}
	got, err := watch(func() error {
		_, err := os.ReadFile(name("sub/used"))
		return err
	})
	if want := []string{name("sub/used")}; err != nil || !slices.Equal(got.opened, want) || len(got.changed) > 0 {
		t.Errorf("got %q, changed %q (%v), want %q", got.opened, got.changed, err, want)
	}
	got, err = watch(func() error { _, err := os.ReadDir(name("sub")); return err })
	if want := []string{name("sub")}; err != nil || !slices.Equal(got.opened, want) {
		t.Errorf("listed a directory: got %q (%v), want %q", got.opened, err, want)
	}
	for changed, do := range map[string]func() error{
		"sub/used":   func() error { return os.WriteFile(name("sub/used"), []byte("more"), 0o644) },
		"new":        func() error { return os.WriteFile(name("new"), nil, 0o644) },
		"sub/unused": func() error { return os.Remove(name("sub/unused")) },
		"log":        func() error { return os.Chmod(name("log"), 0o600) },
	} {
		if got, err = watch(do); err != nil || !slices.Equal(got.changed, []string{name(changed)}) {
			t.Errorf("got changes of %q (%v), want %s", got.changed, err, changed)
		}
	}
}

func TestLeastRecentlyUsedComesFirst(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	chain := func(owns ...string) map[string]string {
		text := ""
		for _, own := range owns {
			text += fmt.Sprintf(`,{"own":%q}`, own)
		}
		return map[string]string{labelChain: "[" + text[1:] + "]"}
	}
	all := []types.Snapshot{
		{Name: StepPrefix + "leaf", Labels: chain("base", "leaf"), Size: 10, Used: now},
		{Name: StepPrefix + "base", Labels: chain("base"), Size: 100, Used: now.Add(-9 * time.Hour)},
		{Name: StepPrefix + "old", Labels: chain("base", "old"), Size: 20, Used: now.Add(-2 * time.Hour)},
		{Name: "toolbox", Size: 50, Used: now.Add(-1 * time.Hour)},
	}
	for limit, want := range map[diskimage.Size]string{180: "", 179: "old", 159: "old toolbox",
		109: "old toolbox leaf"} {
		var got []string
		for _, name := range LeastRecentlyUsed(all, limit) {
			got = append(got, strings.TrimPrefix(name, StepPrefix))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("limit %d: got %q, want %q", limit, got, want)
		}
	}
	if keys := slices.Sorted(maps.Keys(all[0].Labels)); len(keys) != 1 {
		t.Error("labels were changed")
	}
}

func TestBeginContinuesWithoutVanishedSnapshot(t *testing.T) {
	t.Parallel()
	e := &vanishing{Engine: &snapshottest.Engine{}}
	c := newCacheTest()
	c.build(t, e.Engine)
	s, rootfs, err := c.store(e, nil).Begin(t.Context(), c.steps())
	if err != nil || rootfs == nil || len(s.Entries) == 0 || s.Entries[len(s.Entries)-1].Kind != "apt.install" {
		t.Errorf("begins after %d steps (%v), want the packages", len(s.Entries), err)
	}
}

// vanishing loses each snapshot with a hook when it is requested.
type vanishing struct{ *snapshottest.Engine }

func (e *vanishing) From(_ context.Context, name string) (target.Rootfs, error) {
	for i, s := range e.All {
		if s.Name == name && strings.Contains(s.Labels[labelChain], `"hook"`) {
			e.All = slices.Delete(e.All, i, i+1)
			return nil, fs.ErrNotExist
		}
	}
	return &keeper{}, nil
}

func TestPortableNamesOfHostFiles(t *testing.T) {
	t.Parallel()
	h := step.Hook{Script: "/home/alice/hooks/x.sh"}
	here, there := h.HostDirs("/home/alice/work"), step.Hook{Script: "/srv/x.sh"}.HostDirs("/home/bob")
	for name, want := range map[string]string{
		"/home/alice/work/sub/a":  "/home/bob/sub/a",
		"/home/alice/work":        "/home/bob",
		"/home/alice/hooks/lib":   "/srv/lib",
		"/home/alice/elsewhere/x": "",
	} {
		if got := there.Local(here.Portable(name)); got != want {
			t.Errorf("the portable name of %s is %q, want %q", name, got, want)
		}
	}
	if got := there.Local("working directory:../../etc/shadow"); got != "" {
		t.Errorf("an unknown name leads to %s", got)
	}
}

func TestDigestHasContentsNotLocations(t *testing.T) {
	t.Parallel()
	own := func(s step.Step) Digest {
		l, err := New(Config{}).newEntry("before", s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l.Content
	}
	for _, steps := range [][3]step.Step{ // the last two are alike
		{step.Hook{Digest: "a", Script: "/x"}, step.Hook{Digest: "b", Script: "/x"},
			step.Hook{Digest: "b", Script: "/y"}},
		{step.Hook{Name: "x", Script: "/x"}, step.Hook{Name: "y", Script: "/y"}, step.Hook{Name: "y", Script: "/z/y"}},
		{step.Copy{Digest: "a", Source: "/x", Destination: "/"}, step.Copy{Digest: "b", Source: "/x", Destination: "/"},
			step.Copy{Digest: "b", Source: "/y", Destination: "/"}},
		{step.Copy{Name: "x", Destination: "/"}, step.Copy{Name: "y", Destination: "/"},
			step.Copy{Name: "y", Copy: "/y", Destination: "/"}},
		{step.CustomPackages{Files: []string{"/x.deb"}, Digests: []string{"a"}},
			step.CustomPackages{Files: []string{"/x.deb"}, Digests: []string{"b"}},
			step.CustomPackages{Files: []string{"/y.deb"}, Digests: []string{"b"}}},
		{step.CustomPackages{Names: []string{"x.deb"}}, step.CustomPackages{Names: []string{"y.deb"}},
			step.CustomPackages{Files: []string{"/y.deb"}, Names: []string{"y.deb"}}},
		{step.Debootstrap{InRelease: "a", Tools: "t"}, step.Debootstrap{InRelease: "b", Tools: "t"},
			step.Debootstrap{InRelease: "b", Tools: "t"}},
		{step.Debootstrap{InRelease: "a", Tools: "t"}, step.Debootstrap{InRelease: "a", Tools: "u"},
			step.Debootstrap{InRelease: "a", Tools: "u"}},
	} {
		if own(steps[0]) == own(steps[1]) {
			t.Errorf("%+v and %+v have one digest", steps[0], steps[1])
		}
		if own(steps[1]) != own(steps[2]) {
			t.Errorf("%+v and %+v have two digests", steps[1], steps[2])
		}
	}
}
