// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// development is the version of a build between releases. It follows 1.7, because the options are the same.
const development = "1.12.0-dev"

// release is set by the linker: make build VERSION=1.12.0.
var release string

// versionText returns what --version prints. The first line is the version alone, as vmdebootstrap 1.7 printed it, so
// that scripts which compare it keep working; the others say what the program was built from.
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
	lines = append(lines, info.GoVersion)
	for _, m := range info.Deps {
		if slices.Contains(libraries, m.Path) {
			lines = append(lines, m.Path+" "+m.Version)
		}
	}
	return strings.Join(lines, "\n")
}

// libraries are the modules that store and run containers, and those that read what comes from the outside: reports of
// bugs need their versions.
var libraries = []string{
	"github.com/containers/buildah", "github.com/klauspost/compress", "github.com/ProtonMail/go-crypto",
	"github.com/mikelolasagasti/xz", "github.com/moby/buildkit", "github.com/ulikunitz/xz", "go.podman.io/common",
	"go.podman.io/image/v5", "go.podman.io/storage",
}

// buildVersion returns the linker's version, else that of the module, which go install sets and which go build derives
// from a tag. Without a tag a module is v0.0.0, lower than any release, and development is returned.
func buildVersion(release string, info *debug.BuildInfo) string {
	module := info.Main.Version
	if module == "(devel)" || strings.HasPrefix(module, "v0.0.0-") {
		module = ""
	}
	return cmp.Or(release, strings.TrimPrefix(module, "v"), development)
}

// buildInfo returns what the linker has recorded about this program.
func buildInfo() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{} // not built as a module
}

// linked describes what this program is built from beside its own sources: Go, and the libraries with the digests of
// theirs. If these are unknown, as for modules of a local directory, it is the digest of the program.
func linked(info *debug.BuildInfo) ([]string, error) {
	all := []string{info.GoVersion, runtime.GOOS, runtime.GOARCH}
	known := len(info.Deps) > 0
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, m.Path+" "+m.Version+" "+m.Sum)
		known = known && m.Sum != ""
	}
	if known {
		return all, nil
	}
	digest, err := programDigest()
	return append(all, digest), err
}

// programDigest returns the SHA-256 digest of this program, in hexadecimal.
func programDigest() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// newVersionVerb returns the command "vmdebootstrap version", which does what --version does.
func newVersionVerb(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "show the version, the commit, and the versions of Go and libraries", Args: cobra.NoArgs,
		Example: `
# All versions
vmdebootstrap version
# The version alone
vmdebootstrap version | head -n 1`,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(out, versionText(release, buildInfo()))
			return err
		},
	}
}
