// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"runtime/debug"
	"strings"
)

// development is the version of a build between releases: what comes after 1.7, with the same options.
const development = "1.8.0-dev"

// release is set by the linker: make build VERSION=1.8.0.
var release string

// versionText is what --version prints. Its first line is the version alone, all that vmdebootstrap 1.7 printed, so
// that scripts that compare it go on to work; the others say what the program was built from.
func versionText(release string, info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	lines := []string{buildVersion(release, info)}
	if commit := settings["vcs.revision"]; commit != "" {
		if settings["vcs.modified"] == "true" {
			commit += ", modified"
		}
		lines = append(lines, "commit "+commit)
	}
	return strings.Join(append(lines, info.GoVersion), "\n")
}

// buildVersion returns the linker's version, else that of the module, which go install names and which go build works
// out from a tag. A module without a tag is v0.0.0, older than all that there were.
func buildVersion(release string, info *debug.BuildInfo) string {
	module := info.Main.Version
	if module == "(devel)" || strings.HasPrefix(module, "v0.0.0-") {
		module = ""
	}
	return cmp.Or(release, strings.TrimPrefix(module, "v"), development)
}

// buildInfo returns what the linker says of this program.
func buildInfo() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{} // not built as a module
}
