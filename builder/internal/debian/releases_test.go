// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLookupSuiteDependsOnTheDay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ day, suite, want string }{
		{"2026-11-23", "stable", "trixie"},
		{"2026-11-23", "testing", "forky"},
		{"2026-11-23", "oldstable", "bookworm"},
		{"2026-11-23", "oldoldstable", "bullseye"},
		{"2026-11-23", "unstable", "sid"},
		{"2026-11-23", "bookworm", "bookworm"},
		{"2026-11-23", "noble", "noble"},
		{"2026-11-23", "stonking", "stonking"}, // 26.10
		{"2015-04-25", "stable", "wheezy"},
		{"2015-04-26", "stable", "jessie"},
		{"2015-04-26", "oldstable", "wheezy"},
		{"2015-04-26", "testing", "stretch"},
		{"1995-01-01", "stable", ""},
		{"2026-11-23", "devel", ""},
		{"2026-11-23", "Sid", ""},
		{"2026-11-23", "", ""},
	} {
		day, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := LookupSuite(test.suite, day)
		if got.Codename != test.want || ok != (test.want != "") {
			t.Errorf("%s on %s: got %q, want %q", test.suite, test.day, got.Codename, test.want)
		}
	}
}

func TestReleaseTableIsInOrder(t *testing.T) {
	t.Parallel()
	for _, vendor := range []Vendor{Debian, Ubuntu} {
		last := Release{}
		for _, r := range releases {
			if r.Vendor != vendor || r.Created == neverReleased {
				continue
			}
			if r.Created < last.Created || r.Released != "" && (r.Released < r.Created || r.EOL < r.Released) {
				t.Errorf("%s: the dates are out of order: %+v", r.Codename, r)
			}
			last = r
		}
	}
	if !slices.IsSortedFunc(releases,
		func(a, b Release) int { return strings.Compare(string(a.Vendor), string(b.Vendor)) }) {
		t.Error("the releases are not grouped by vendor")
	}
}

func TestReleaseFeatures(t *testing.T) {
	t.Parallel()
	type features struct{ systemd, sysvinit, resolved, resolvedPackage, deb822, mergedUsr, firstBoot, presetIgnore bool }
	for codename, want := range map[string]features{
		"wheezy":   {sysvinit: true},
		"jessie":   {systemd: true},
		"stretch":  {systemd: true, resolved: true},
		"buster":   {systemd: true, resolved: true, mergedUsr: true},
		"bookworm": {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, firstBoot: true},
		"trixie": {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, deb822: true, firstBoot: true,
			presetIgnore: true},
		"sid": {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, deb822: true, firstBoot: true,
			presetIgnore: true},
		"trusty": {},
		"xenial": {systemd: true, resolved: true},
		"jammy":  {systemd: true, resolved: true, mergedUsr: true, firstBoot: true},
		"noble": {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, deb822: true, firstBoot: true,
			presetIgnore: true},
	} {
		r, ok := LookupRelease(codename)
		if !ok {
			t.Fatalf("unknown release %s", codename)
		}
		got := features{r.Systemd(), r.Sysvinit(), r.Resolved(), r.ResolvedPackage(), r.Deb822Sources(), r.MergedUsr(),
			r.FirstBoot(), r.PresetIgnore()}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", codename, got, want)
		}
	}
}

func TestSecuritySuite(t *testing.T) {
	t.Parallel()
	for codename, want := range map[string]string{
		"buster": "buster/updates", "bullseye": "bullseye-security", "trixie": "trixie-security",
		"noble": "noble-security", "sid": "",
	} {
		r, _ := LookupRelease(codename)
		if got := r.SecuritySuite(); got != want {
			t.Errorf("%s: got %q, want %q", codename, got, want)
		}
	}
}

func TestUbuntuReleaseMovesAtTheEndOfAllSupport(t *testing.T) {
	t.Parallel()
	today := time.Date(2026, time.November, 29, 0, 0, 0, 0, time.UTC)
	for codename, want := range map[string]bool{
		"precise": true, "zesty": true, "plucky": true, "questing": true,
		"trusty": false, // no free support since 2019, but one that is paid for until 2029
		"focal":  false, "noble": false, "resolute": false, "stonking": false, "tenacious": false,
		"wheezy": false, // of Debian
	} {
		r, known := LookupRelease(codename)
		if got := r.Moved(today); !known || got != want {
			t.Errorf("%s: got %v, %v; want %v", codename, got, known, want)
		}
	}
}
