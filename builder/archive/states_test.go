// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// lockedArchive returns an archive with the package less, a client that has recorded its states, and another one that
// is held to them, whose cache is empty.
func lockedArchive(t *testing.T, options archivetest.Options) (*archivetest.Repository, *Client, *Client) {
	t.Helper()
	repo := archivetest.NewRepository(t)
	repo.Configure(options)
	repo.Add(archivetest.Deb{Name: "less"})
	first := newClient(t, repo)
	first.States = NewStates()
	if _, err := first.Release(t.Context(), repo.URL(), "trixie"); err != nil {
		t.Fatal(err)
	}
	second := newClient(t, repo)
	second.States = FixedStates(first.States.All())
	return repo, first, second
}

func TestLockedClientReadsTheRecordedState(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]archivetest.Options{"InRelease": {}, "Release.gpg": {Detached: true}} {
		repo, first, second := lockedArchive(t, options)
		want, err := first.Release(t.Context(), repo.URL(), "trixie")
		if err != nil {
			t.Fatal(err)
		}
		got, err := second.Release(t.Context(), repo.URL(), "trixie")
		if err != nil || got.Digest != want.Digest {
			t.Fatalf("%s: got %+v (%v), want the digest %s", name, got, err, want.Digest)
		}
		state := first.States.All()
		if len(state) != 1 || len(state[0].SignedBy) != 1 || state[0].Files[0].SHA256 != want.Digest {
			t.Errorf("%s: recorded %+v", name, state)
		}
		// The mirror has another state now, but the cache has this one.
		repo.Add(archivetest.Deb{Name: "more"})
		if got, err = second.Release(t.Context(), repo.URL(), "trixie"); err != nil || got.Digest != want.Digest {
			t.Errorf("%s: from the cache: got %+v (%v)", name, got, err)
		}
	}
}

func TestLostStatesAreNamed(t *testing.T) {
	t.Parallel()
	repo, _, locked := lockedArchive(t, archivetest.Options{})
	release, err := locked.Release(t.Context(), repo.URL(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	index, err := locked.Packages(t.Context(), release, "main", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	less := index.Lookup("less")
	want := func(what string, err error) {
		t.Helper()
		gone, ok := errors.AsType[*GoneError](err)
		if !ok || !strings.Contains(err.Error(), what+" of the lock can no longer be had") {
			t.Errorf("got %v (%v), want that %s is gone", err, gone, what)
		}
	}
	repo.InjectAlways("less_1.0", archivetest.Fault{Status: 404})
	want("package less 1.0", locked.Fetch(t.Context(), []*Package{less}, nil))

	repo.Add(archivetest.Deb{Name: "more"}) // which replaces InRelease and indexes
	empty := newClient(t, repo)
	empty.States = locked.States
	_, err = empty.Release(t.Context(), repo.URL(), "trixie")
	want(`InRelease of suite "trixie"`, err)

	for _, name := range []string{"main/binary-amd64/Packages.gz", "main/binary-amd64/Packages"} {
		if err := os.RemoveAll(locked.Cache.Path(release.Files[name].SHA256)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = locked.Packages(t.Context(), release, "main", "amd64")
	want("index main/binary-amd64/Packages", err)
}

func TestOtherSuitesAreNotInTheLock(t *testing.T) {
	t.Parallel()
	repo, _, locked := lockedArchive(t, archivetest.Options{})
	_, err := locked.Release(t.Context(), repo.URL(), "sid")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `the lock has no suite "sid" of `+repo.URL()) {
		t.Errorf("got %v", err)
	}
}

// The build that made the lock has accepted the state, also one that had expired: the apt of its machine may allow it.
func TestLockedStateMayHaveExpired(t *testing.T) {
	t.Parallel()
	date := time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
	repo, first, locked := lockedArchive(t, archivetest.Options{Date: date, ValidUntil: date.AddDate(0, 0, 7)})
	first.Now = date.AddDate(1, 0, 0)
	if _, err := first.Release(t.Context(), repo.URL(), "trixie"); err == nil {
		t.Error("an expired state was accepted without a lock")
	}
	for _, locked.Now = range []time.Time{date.AddDate(0, 0, 1), date.AddDate(1, 0, 0)} {
		if _, err := locked.Release(t.Context(), repo.URL(), "trixie"); err != nil {
			t.Errorf("on %s: %v", locked.Now, err)
		}
	}
}
