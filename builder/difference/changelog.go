// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// source is what a package was made from: the version of its source, and the digest of its .deb, empty if unknown.
type source struct{ version, digest string }

// sources are those of the packages of a system.
func (s side) sources() map[packageKey]source {
	found := map[packageKey]source{}
	for _, p := range s.packages {
		_, version := p.Source()
		found[packageKey{p.Name, p.Architecture}] = source{version: version}
	}
	return found
}

// upgrade is a package whose version differs between two systems. Downgraded packages are upgrades in the other
// direction.
type upgrade struct {
	*Package
	newer archive.DebID
	// digest is that of the newer .deb, empty if it is unknown; from and to are versions of the source.
	digest, from, to string
}

// upgrades returns the packages that were up- and downgraded between systems with these sources.
func (p Packages) upgrades(a, b map[packageKey]source) (all []upgrade) {
	for i, u := range p.Upgraded {
		k := packageKey{u.Name, u.Architecture}
		all = append(all, upgrade{&p.Upgraded[i], archive.DebID{Name: u.Name, Version: u.B, Architecture: u.Architecture},
			b[k].digest, withoutRebuild(a[k].version), withoutRebuild(b[k].version)})
	}
	for i, d := range p.Downgraded {
		k := packageKey{d.Name, d.Architecture}
		all = append(all, upgrade{&p.Downgraded[i], archive.DebID{Name: d.Name, Version: d.A, Architecture: d.Architecture},
			a[k].digest, withoutRebuild(b[k].version), withoutRebuild(a[k].version)})
	}
	// Two builds of one source have the same changelog.
	return slices.DeleteFunc(all, func(u upgrade) bool { return u.from == u.to })
}

// addChanges adds to packages what has changed, from the newer system if it has the changelog, else from the .deb in
// the cache, which may be nil. Changelogs are documentation, and no reason to fail.
func addChanges(ctx context.Context, packages Packages, a, b side, debs *archive.Cache) error {
	var missing []upgrade
	for _, u := range packages.upgrades(a.sources(), b.sources()) {
		index := b.Index
		if u.newer.Version == u.A {
			index = a.Index
		}
		if !u.read(index.ReadFile) {
			missing = append(missing, u)
		}
	}
	return addFromDebs(ctx, missing, debs)
}

// addFromDebs adds to packages what the changelogs of their .debs say, of those that the cache has.
func addFromDebs(ctx context.Context, all []upgrade, debs *archive.Cache) error {
	wanted := map[archive.DebID]bool{}
	for _, u := range all {
		if u.digest == "" {
			wanted[u.newer] = true
		}
	}
	var found map[archive.DebID]string
	if debs != nil && len(wanted) > 0 {
		var err error
		if found, err = debs.FindDebs(ctx, wanted); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, u := range all {
		digest := cmp.Or(u.digest, found[u.newer])
		if debs == nil || digest == "" {
			continue
		}
		group.Go(func() error {
			// A copy takes less time to decompress.
			for _, digest := range []string{debs.Derived(archive.RepackedKind, digest), digest} {
				if ok, err := debs.Verify(ctx, digest); !ok || err != nil {
					continue
				}
				files, err := debfile.ReadFiles(ctx, debs.Path(digest), changelogFiles(u.Name)...)
				if err == nil && u.read(func(name string) ([]byte, error) { return files[name], nil }) {
					break
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// rebuild matches the end of the version of a package that was built again from the same source (binNMU).
var rebuild = regexp.MustCompile(`\+b[0-9]+$`)

func withoutRebuild(version string) string { return rebuild.ReplaceAllString(version, "") }

// entry matches the first line of an entry of a changelog (deb-changelog(5)).
var entry = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]* \(([^()\s]+)\) `)

// changelogFiles are the names that the changelog of a package may have: packages that are made for Debian alone have
// the second one (Debian policy, 12.7).
func changelogFiles(name string) []string {
	dir := path.Join("usr/share/doc", name)
	return []string{path.Join(dir, "changelog.Debian.gz"), path.Join(dir, "changelog.gz")}
}

// read reads what has changed from the changelog, and reports whether there is one that can be read.
func (u upgrade) read(readFile func(name string) ([]byte, error)) bool {
	const maxChangelog = 16 << 20
	for _, name := range changelogFiles(u.Name) {
		data, err := readFile(name)
		if err != nil {
			continue
		}
		if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			u.Changes = readChanges(io.LimitReader(z, maxChangelog), u.from, u.to)
			return true
		}
	}
	return false
}

// readChanges returns the entries of a changelog that are later than one version, and not later than the other.
func readChanges(in io.Reader, from, to string) (all []Change) {
	const maxLine = 1 << 16
	wanted := false
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if m := entry.FindStringSubmatch(line + " "); m != nil {
			if archive.CompareVersions(m[1], from) <= 0 {
				break
			}
			if wanted = archive.CompareVersions(m[1], to) <= 0; wanted {
				all = append(all, Change{Version: m[1], Lines: []string{}})
			}
			continue
		}
		if text, ok := strings.CutPrefix(line, "  "); ok && wanted && text != "" {
			last := &all[len(all)-1]
			last.Lines = append(last.Lines, text)
		}
	}
	return all
}
