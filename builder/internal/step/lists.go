// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// listsDir is apt's directory of package lists.
const listsDir = "/var/lib/apt/lists"

// sourcesList is the file where debootstrap writes the mirror.
const sourcesList = "/etc/apt/sources.list"

// localSources is the file of the sources of repositories that are directories of the host. Clean removes it.
const localSources = "/etc/apt/sources.list.d/local.list"

// quoteURL encodes the percent signs of a URL for a line of sources.list: apt decodes them when it reads it (apt-pkg,
// ParseQuoteWord).
func quoteURL(url string) string { return strings.ReplaceAll(url, "%", "%25") }

// debootstrapURL returns the URL of a mirror for debootstrap, which knows no copy: and has its URLs without a slash at
// their end.
func debootstrapURL(mirror secret.URL) string {
	if local, ok := mirror.Local(); ok {
		return "file://" + local
	}
	return strings.TrimSuffix(mirror.Reveal(), "/")
}

// writeSources writes sources.list where debootstrap does not write what apt needs: it encodes no percent signs, and
// has another mirror in the place of a local one. Components without a package list are left out, as debootstrap does.
func (d Debootstrap) writeSources(f target.Files, suites []string) error {
	mirror := strings.TrimSuffix(d.Mirror.Reveal(), "/")
	if _, local := d.Mirror.Local(); !local && quoteURL(mirror) == mirror {
		return nil
	}
	var text strings.Builder
	for _, suite := range suites {
		line := ""
		for _, component := range d.list("components", "main") {
			index := aptListName(mirror + "/dists/" + suite + "/" + component + "/binary-" + d.Arch + "/Packages")
			if there, err := target.Exists(f, path.Join(listsDir, index)); err != nil {
				return err
			} else if there {
				line += " " + component
			}
		}
		if line != "" {
			fmt.Fprintf(&text, "deb %s %s%s\n", quoteURL(mirror), suite, line)
		}
	}
	return target.WriteFileIn(f, sourcesList, text.String(), 0o644)
}

// renameLists gives the package lists that debootstrap has downloaded the names by which apt looks for them. dist is
// the URL of the suite's directory, with a slash at its end.
func renameLists(f target.Files, dist string) error {
	from, to := debootstrapListName(dist), aptListName(dist)
	entries, err := f.ReadDir(listsDir)
	if from == to || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), from)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		name := path.Join(listsDir, e.Name())
		data, err := f.ReadFile(name)
		if err != nil {
			return err
		}
		if err := f.WriteFile(path.Join(listsDir, to+rest), data, 0o644); err != nil {
			return err
		}
		if err := f.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// debootstrapListName returns the name of debootstrap's list from a URL (debootstrap functions, apt_dest).
func debootstrapListName(url string) string {
	if scheme, rest, ok := strings.Cut(url, "://"); ok && scheme != "" && !strings.Contains(scheme, ":") {
		url = rest
	}
	return strings.ReplaceAll(url, "/", "_")
}

// aptListName returns the name of apt's list from a URL (apt-pkg, URItoFileName): without the scheme, the credentials
// and the brackets around an IPv6 address, and with some characters encoded.
func aptListName(url string) string {
	_, rest, _ := strings.Cut(url, ":")
	if authority, ok := strings.CutPrefix(rest, "//"); ok {
		host, path, _ := strings.Cut(authority, "/")
		host = host[strings.LastIndexByte(host, '@')+1:]
		rest = strings.NewReplacer("[", "", "]", "").Replace(host) + "/" + path
	}
	var name strings.Builder
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '/':
			name.WriteByte('_')
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`\|{}[]<>"^~_=!@#$%^&*`, c) >= 0:
			fmt.Fprintf(&name, "%%%02x", c)
		default:
			name.WriteByte(c)
		}
	}
	return name.String()
}
