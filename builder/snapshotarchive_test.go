// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
)

func TestParseSnapshotTakesThreeForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-01-31":                "20260131T000000Z",
		"2026-01-31T06:30:01Z":      "20260131T063001Z",
		"2026-01-31T06:30:01+02:00": "20260131T043001Z",
		"20260131T063001Z":          "20260131T063001Z",
	} {
		if got, err := ParseSnapshot(text); err != nil || got.Format(SnapshotLayout) != want {
			t.Errorf("%s: got %v (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "now", "2026-02-30", "2026-1-1", "20260131", "1999-01-01", "0001-01-01", "12345"} {
		if got, err := ParseSnapshot(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// The day of the snapshot decides what stable is; this machine's own mirror has no part in the image.
func TestSnapshotIsOfItsDay(t *testing.T) {
	t.Parallel()
	w := testWorld()
	w.HostMirror, w.HostUpdates = secret.NewURL("http://host.example/debian"), true
	w.HostSecurity = secret.NewURL("http://host.example/security")
	s, err := NewSpec(options(func(o *Options) { o.Snapshot = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC) }), w)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Codename(); got != "bookworm" {
		t.Errorf("stable is %s", got)
	}
	if got := s.Options().Mirror; got != debianMirror {
		t.Errorf("the image has the mirror %s", got)
	}
	const base = "http://snapshot.debian.org/archive/debian"
	var got []string
	for _, r := range s.Repositories(s.Codename()) {
		got = append(got, r.String())
		if r.Optional {
			t.Errorf("%s can be left out", r)
		}
	}
	want := base + "/20240102T030405Z bookworm-updates main\n" + base + "-security/20240102T030405Z bookworm-security main"
	if strings.Join(got, "\n") != want {
		t.Errorf("got the pockets %q, want %q", got, want)
	}
	for _, from := range s.toolSources(&archive.Client{}) {
		if from.mirror.Reveal() != base+"/20240102T030405Z" {
			t.Errorf("tools may come from %s", from.mirror)
		}
	}
	if s.Mirrors() != nil {
		t.Errorf("a snapshot has the mirrors %v", s.Mirrors())
	}
}

func TestSnapshotsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		distribution, date, want string
	}{
		{"stable", "2026-12-01", "is in the future"},
		{"noble", "2026-01-01", "it knows the archives of Debian only"},
		{"buster", "2020-01-01", "debootstrap and other programs of a build cannot be as old as buster"},
		{"sid", "2020-01-01", ""},
		{"buster", "2023-01-01", ""},
	} {
		at, err := ParseSnapshot(tt.date)
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewSpec(options(func(o *Options) { o.Distribution, o.Snapshot = tt.distribution, at }), testWorld())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s of %s: got %v, want %q", tt.distribution, tt.date, err, tt.want)
		}
	}
}

// A lock that was made without --snapshot keeps its mirrors, and its day.
func TestSnapshotIsAFurtherMirrorOfALock(t *testing.T) {
	t.Parallel()
	w := testWorld()
	made := time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC)
	w.Locked = &lockfile.File{Made: made, Suites: []lockfile.Suite{
		{Use: []string{lockfile.UseImage}, Mirror: "http://m.example/debian", Suite: "trixie", Codename: "trixie"},
		{Mirror: "http://s.example/security", Suite: "trixie-security", Codename: "trixie-security"},
	}}
	s, err := NewSpec(options(func(o *Options) { o.Snapshot = time.Date(2025, 9, 2, 0, 0, 0, 0, time.UTC) }), w)
	if err != nil {
		t.Fatal(err)
	}
	if s.mirror().Reveal() != "http://m.example/debian" || !s.SnapshotTime().IsZero() || !s.Clock().Equal(made) {
		t.Errorf("got the mirror %s, the snapshot %v and the clock %v", s.mirror(), s.SnapshotTime(), s.Clock())
	}
	if got := len(s.Mirrors()); got != 2 {
		t.Errorf("%d archives have further mirrors, want 2", got)
	}
}
