// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// toolSource is a suite of a mirror that the tools of a build may come from.
type toolSource struct {
	suite  string
	mirror secret.URL
	client *archive.Client
	// target says that it is what the image is made of.
	target bool
}

// toolSources returns where tools may come from, the best first: the suite that is built before any other, and the
// build's own mirror before the host's. client is that of the build's mirror.
func (s Spec) toolSources(client *archive.Client) []toolSource {
	type place struct {
		mirror secret.URL
		client *archive.Client
	}
	places := []place{{s.mirror(), client}}
	if !s.o.ToolsMirror.IsZero() {
		own := outsideSnapshot(client.WithDefaultKeys())
		own.NoCheck = client.NoCheck
		places = []place{{s.o.ToolsMirror, own}}
	} else if host := s.w.HostMirror; !host.IsZero() && host != s.o.Mirror && !s.ofSnapshot() {
		hosts := client.WithDefaultKeys()
		hosts.AllowExpired = s.o.AllowExpired || s.w.HostAllowsExpired
		places = append(places, place{host, hosts})
	} else if host.IsZero() && s.release.Vendor == debian.Ubuntu { // whose archive has no release of Debian
		places = append(places, place{debianMirror, client.WithDefaultKeys()})
	}
	var suites []string
	if s.toolsFromTarget() {
		suites = append(suites, s.release.Codename)
	}
	if newer := s.toolboxSuite(); !slices.Contains(suites, newer) {
		suites = append(suites, newer)
	}
	var all []toolSource
	for _, suite := range suites {
		for _, p := range places {
			all = append(all, toolSource{suite, p.mirror, p.client,
				suite == s.release.Codename && p.mirror == s.mirror()})
		}
	}
	return all
}

// ToolsError says that the programs that a build runs could not be had from anywhere.
type ToolsError struct {
	// Suites are the codenames of the releases that would do.
	Suites []string
	// Tried has the error of each place.
	Tried []error
}

func (e *ToolsError) Error() string {
	texts := make([]string, len(e.Tried))
	for i, err := range e.Tried {
		texts[i] = strings.ReplaceAll(err.Error(), "\n", ", ") // the error of an index has a line for each package
	}
	return "look for the tools of the build: " + strings.Join(texts, "; ")
}

func (e *ToolsError) Unwrap() []error { return e.Tried }

// findTools returns the first release and its index that have all packages of the toolbox. Of src, which it completes,
// it needs the target's parts.
func (s Spec) findTools(ctx context.Context, client *archive.Client, src *Sources) (*archive.Release, error) {
	failure := &ToolsError{}
	for _, from := range s.toolSources(client) {
		release, index, err := from.read(ctx, s, *src)
		if err == nil {
			src.Toolbox, src.ToolboxSuite, src.ToolsMirror = index, from.suite, from.mirror
			if _, err = s.toolboxContent(*src); err == nil {
				return release, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failure.Tried = append(failure.Tried, fmt.Errorf("%s at %s: %w", from.suite, from.mirror, err))
		if !slices.Contains(failure.Suites, from.suite) {
			failure.Suites = append(failure.Suites, from.suite)
		}
	}
	return nil, failure
}

// read returns the release and the index of its packages that run on this machine.
func (from toolSource) read(ctx context.Context, s Spec, src Sources) (*archive.Release, *archive.Index, error) {
	release := src.Release
	if from.target && s.o.Arch == s.w.HostArch {
		return release, src.Main, nil
	}
	if !from.target {
		var err error
		if release, err = from.client.Release(ctx, from.mirror.Reveal(), from.suite); err != nil {
			return nil, nil, err
		}
	}
	index, err := from.client.Packages(ctx, release, "main", s.w.HostArch)
	return release, index, err
}

// oldestTools is the first release whose programs can make images.
const oldestTools = "bullseye"

// toolsFromTarget reports whether the tools come from the suite that is built, so that debootstrap knows it and mkfs
// programs make what it understands. Releases before oldestTools are too old for that, and others than those of
// mkfs programs that lose something.
func (s Spec) toolsFromTarget() bool {
	return s.release.Vendor == debian.Debian && s.release.Codename != "experimental" &&
		s.release.Since(oldestTools, "") &&
		s.completeMkfs(s.release)
}

// completeMkfs reports whether a release of Debian has the mkfs programs that keep every attribute.
func (s Spec) completeMkfs(r debian.Release) bool {
	return !slices.ContainsFunc(s.mkfsTypes(), func(t filesystem.Type) bool {
		return t.Program.Complete != "" && !r.Since(t.Program.Complete, "")
	})
}

// toolboxSuite is the codename that tools come from otherwise: Debian's stable release of the day, or the
// first one with mkfs programs that keep every attribute.
func (s Spec) toolboxSuite() string {
	day := s.w.Today
	if !s.o.ToolsMirror.IsZero() {
		day = s.clock
	}
	stable, ok := debian.LookupSuite("stable", day)
	if !ok {
		panic("BUG: no stable release on " + day.String())
	}
	for _, t := range s.mkfsTypes() {
		if !s.completeMkfs(stable) && t.Program.Complete != "" {
			return t.Program.Complete
		}
	}
	return stable.Codename
}
