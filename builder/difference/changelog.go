// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"bufio"
	"bytes"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/dpkgdb"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// addChanges adds to packages what has changed between two systems.
func addChanges(packages []Package, older, newer side) {
	type key struct{ name, arch string }
	versions := func(s side) map[key]dpkgdb.Package {
		found := map[key]dpkgdb.Package{}
		for _, p := range s.packages {
			found[key{p.Name, p.Architecture}] = p
		}
		return found
	}
	before, after := versions(older), versions(newer)
	for i := range packages {
		k := key{packages[i].Name, packages[i].Architecture}
		_, from := before[k].Source()
		_, to := after[k].Source()
		packages[i].Changes = readChanges(newer.Index, k.name, withoutRebuild(from), withoutRebuild(to))
	}
}

// rebuild matches the end of the version of a package that was built again from the same source (binNMU).
var rebuild = regexp.MustCompile(`\+b[0-9]+$`)

func withoutRebuild(version string) string { return rebuild.ReplaceAllString(version, "") }

// entry matches the first line of an entry of a changelog (deb-changelog(5)).
var entry = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]* \(([^()\s]+)\) `)

// readChanges reads the changelog of a package, as far as there is one that can be read: it is documentation, and no
// reason to fail.
func readChanges(index diskimage.Index, name, from, to string) (all []Change) {
	const maxChangelog, maxLine = 16 << 20, 1 << 16
	var in io.Reader
	// Packages that are made for Debian alone have the second name (Debian policy, 12.7).
	for _, file := range []string{"changelog.Debian.gz", "changelog.gz"} {
		data, err := index.ReadFile(path.Join("usr/share/doc", name, file))
		if err != nil {
			continue
		}
		if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			in = io.LimitReader(z, maxChangelog)
			break
		}
	}
	if in == nil {
		return nil
	}
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
