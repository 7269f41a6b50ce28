// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// archiveClient makes a client of a test's archive, with an empty cache.
func archiveClient(t *testing.T, repo *archivetest.Repository) *archive.Client {
	t.Helper()
	cache, err := archive.NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return &archive.Client{HTTP: repo.Client(), Cache: cache, Keyring: repo.Keyring()}
}

// Issue 12, B10: a mirror's "stable" may be the signed files of a release that is stable no more.
func TestAnAliasIsNotAnOlderRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asked, answer string // on the 23rd of November 2026
		good          bool
	}{
		{"stable", "trixie", true},
		{"stable", "forky", true}, // released since this program was
		{"stable", "bookworm", false},
		{"oldstable", "bookworm", true},
		{"oldstable", "lenny", false},
		{"testing", "forky", true},
		{"testing", "duke", true},
		{"testing", "trixie", false},
		{"unstable", "sid", true},
		{"unstable", "trixie", false},
		{"stable", "later", true}, // is in no table
	} {
		repo := archivetest.NewRepository(t, tt.answer)
		repo.Alias(tt.asked, tt.answer)
		spec := testSpec(t, func(o *Options) { o.Distribution, o.Mirror = tt.asked, secret.NewURL(repo.URL()) })
		client := archiveClient(t, repo)
		release, err := client.Release(t.Context(), repo.URL(), tt.asked)
		if err != nil {
			t.Fatal(err)
		}
		err = spec.checkAlias(release)
		alias, ok := errors.AsType[*AliasError](err)
		if tt.good && err != nil || !tt.good && (!ok || alias.Codename != tt.answer) {
			t.Errorf("%+v: got %v", tt, err)
		}
		if tt.good {
			continue
		}
		if _, _, err := Resolve(t.Context(), spec, client, testLock()); !errors.As(err, &alias) {
			t.Errorf("%+v: a build goes on: %v", tt, err)
		}
	}
}

// Issue 14, 4: the image's sources.list said stable, and so would have become another release one day.
func TestDebootstrapAsksForAReleaseByItsCodename(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(*archivetest.Repository)
		want string
	}{
		{"same files", func(*archivetest.Repository) {}, "trixie"},
		{"no such alias", func(r *archivetest.Repository) { r.Alias("stable", "") }, "trixie"},
		{"no such name", func(r *archivetest.Repository) { r.Replace("dists/trixie/InRelease", nil) }, ""},
	} {
		repo := archivetest.NewRepository(t, "trixie")
		repo.Alias("stable", "trixie")
		addTools(repo)
		tt.make(repo)
		spec := testSpec(t, func(o *Options) { o.Distribution, o.Mirror = "stable", secret.NewURL(repo.URL()) })
		lock, _, err := Resolve(t.Context(), spec, archiveClient(t, repo), testLock())
		if err != nil || lock.Suite != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.name, lock.Suite, err, tt.want)
		}
		plan, err := NewPlan(spec, lock)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Steps[0].(step.Debootstrap).Suite; got != cmp.Or(tt.want, "stable") {
			t.Errorf("%s: debootstrap gets %q", tt.name, got)
		}
	}
}

// The same holds for what the tools come from: the suite that a build asks for is its own business, and they run here.
func TestTheToolsSuiteAnswersWithItsOwnFiles(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "buster", "bookworm", "trixie")
	file, _ := repo.Get("dists/bookworm/InRelease")
	repo.Replace("dists/trixie/InRelease", file)
	spec := testSpec(t, func(o *Options) { o.Distribution, o.Mirror = "buster", secret.NewURL(repo.URL()) })
	_, _, err := Resolve(t.Context(), spec, archiveClient(t, repo), testLock())
	if wrong, ok := errors.AsType[*archive.SuiteError](err); !ok || wrong.Asked != "trixie" ||
		wrong.Codename != "bookworm" {
		t.Errorf("got %v", err)
	}
}

func TestDebootstrapGetsTheKeysOfTheSuite(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	client := archiveClient(t, repo)
	client.Keyring = append(archive.DefaultKeyring(), client.Keyring...)
	release, err := client.Release(t.Context(), repo.URL(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := writeKeyring(name, release); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	keys, err := archive.ReadKeyring(f)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, key := range keys {
		ids = append(ids, key.PrimaryKey.KeyIdString())
	}
	want := []string{"B7C5D7D6350947F8", "225629DF75B188BD", "762F67A0B2C39DE4",
		repo.Keyring()[0].PrimaryKey.KeyIdString()}
	slices.Sort(ids)
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("got the keys %v, want %v", ids, want)
	}
}
