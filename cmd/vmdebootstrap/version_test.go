// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime/debug"
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
