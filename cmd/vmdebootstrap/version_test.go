// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime/debug"
	"slices"
	"testing"
)

func TestVersionNamesVersionCommitAndGo(t *testing.T) {
	t.Parallel()
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123abc"}
	for _, tt := range []struct {
		name, release, module string
		settings              []debug.BuildSetting
		want                  string
	}{
		{"a test", "", "", nil, development + "\ngo1.26.0"},
		{"go build without tags", "", "v0.0.0-20260101000000-0123abc", []debug.BuildSetting{commit},
			development + "\ncommit 0123abc\ngo1.26.0"},
		{"go build with changes", "", "(devel)", []debug.BuildSetting{commit, {Key: "vcs.modified", Value: "true"}},
			development + "\ncommit 0123abc, modified\ngo1.26.0"},
		{"go install", "", "v1.12.0", nil, "1.12.0\ngo1.26.0"},
		{"after a tag", "", "v1.12.1-0.20260101000000-0123abc", []debug.BuildSetting{commit},
			"1.12.1-0.20260101000000-0123abc\ncommit 0123abc\ngo1.26.0"},
		{"make build VERSION=1.12.0", "1.12.0", "v0.0.0-20260101000000-0123abc", []debug.BuildSetting{commit},
			"1.12.0\ncommit 0123abc\ngo1.26.0"},
	} {
		info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: tt.module}, Settings: tt.settings}
		if got := versionText(tt.release, info); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Results of the cache are those of the same libraries.
func TestLinkedChangesWithLibraries(t *testing.T) {
	t.Parallel()
	of := func(goVersion string, deps ...*debug.Module) []string {
		t.Helper()
		all, err := linked(&debug.BuildInfo{GoVersion: goVersion, Deps: deps})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	digest, err := programDigest()
	if err != nil {
		t.Fatal(err)
	}
	same := of("go1.26", &debug.Module{Path: "example.org/xz", Version: "v1", Sum: "h1:a"})
	if slices.Contains(same, digest) {
		t.Errorf("the digest of the program is in %q", same)
	}
	for name, other := range map[string][]string{
		"another Go":      of("go1.27", &debug.Module{Path: "example.org/xz", Version: "v1", Sum: "h1:a"}),
		"another version": of("go1.26", &debug.Module{Path: "example.org/xz", Version: "v2", Sum: "h1:a"}),
		"another content": of("go1.26", &debug.Module{Path: "example.org/xz", Version: "v1", Sum: "h1:b"}),
		"another module": of("go1.26", &debug.Module{Path: "example.org/xz", Version: "v1", Sum: "h1:a",
			Replace: &debug.Module{Path: "example.org/fork", Version: "v1", Sum: "h1:a"}}),
	} {
		if slices.Equal(same, other) || slices.Contains(other, digest) {
			t.Errorf("%s: %q", name, other)
		}
	}
	for name, unknown := range map[string][]string{
		"no modules": of("go1.26"),
		"a directory": of("go1.26", &debug.Module{Path: "example.org/xz", Version: "v1", Sum: "h1:a",
			Replace: &debug.Module{Path: "../xz"}}),
	} {
		if !slices.Contains(unknown, digest) {
			t.Errorf("%s: %q is without the digest of the program", name, unknown)
		}
	}
}
