// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"cmp"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
)

// HostMirror returns the mirror of Debian's archive that a Debian host uses, from the apt sources below its root
// directory files. ok is false on a host of another distribution, whatever its sources are.
//
// Only Debian's own archive counts: a release of Debian with the component main. Sources that others sign or that are
// below the directory of a product are skipped, and so are the security archive, which lacks most packages, and media.
// Sources that cannot be read are skipped too.
func HostMirror(files fs.FS) (mirror string, ok bool) {
	// The mirror is only a default: a file that the host's administrator wrote must not make a build fail.
	err := guard.Parse(func() error {
		mirror, ok = chooseMirror(files)
		return nil
	})
	return mirror, ok && err == nil
}

// chooseMirror returns the mirror of the best source of a Debian host.
func chooseMirror(files fs.FS) (mirror string, ok bool) {
	host, ok := debian.ReadOSRelease(func(name string) ([]byte, error) { return fs.ReadFile(files, name) })
	if !ok || host["ID"] != "debian" {
		return "", false
	}
	var found []candidate
	sources := readSources(files)
	for order, s := range sources {
		if !s.isDebian() {
			continue
		}
		for _, suite := range s.suites {
			rank := suiteRank(suite, host["VERSION_CODENAME"])
			if rank == 0 {
				continue
			}
			c := candidate{uri: s.uri, order: order, suite: rank}
			if c.proofs = s.proofs(suite, sources); c.proofs > 0 || plainPath(s.uri) {
				found = append(found, c)
			}
		}
	}
	if len(found) == 0 {
		return "", false
	}
	best := slices.MinFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.proofs, a.proofs), cmp.Compare(b.suite, a.suite), cmp.Compare(a.order, b.order))
	})
	return best.uri, true
}

// HostPockets returns what a Debian host adds to the releases of its own mirror, from the apt sources below its root
// directory files: whether it has the updates of the mirror, and the URL of its security archive, "" for none.
func HostPockets(files fs.FS, mirror string) (updates bool, security string) {
	// As for HostMirror, a file that cannot be parsed is no source.
	err := guard.Parse(func() error {
		for _, s := range readSources(files) {
			for _, suite := range s.suites {
				switch {
				case s.uri == mirror && strings.HasSuffix(suite, "-updates"):
					updates = updates || slices.Contains(s.components, "main")
				case security == "" && s.isDebianSecurity(suite):
					security = s.uri
				}
			}
		}
		return nil
	})
	if err != nil || mirror == "" {
		return false, ""
	}
	return updates, security
}

// candidate is a source that may be Debian's archive.
type candidate struct {
	uri    string
	proofs int // see source.proofs
	suite  int // by suiteRank
	order  int // of apt's reading
}

// source is an apt source with one URI.
type source struct {
	uri        string // without a trailing slash
	suites     []string
	components []string
	signedBy   []string // names of files or fingerprints
}

// isDebian reports whether the source may be Debian's archive.
func (s source) isDebian() bool { return s.mayBeDebian() && !s.isSecurityPath() }

// isDebianSecurity reports whether the source may be Debian's security archive, by one of its suites.
func (s source) isDebianSecurity(suite string) bool {
	release, rest := splitSuite(suite)
	return (rest == "-security" || rest == "/updates") && slices.Contains(debianReleaseNames, release) &&
		s.mayBeDebian() && (s.isSecurityPath() || s.signedByDebian())
}

// isSecurityPath reports whether the last part of the path is that of mirrors of the security archive.
func (s source) isSecurityPath() bool {
	u, err := url.Parse(s.uri)
	return err == nil && strings.HasPrefix(path.Base(u.Path), "debian-security")
}

// mayBeDebian reports whether the source has the component main of an archive that nobody but Debian is known to sign.
func (s source) mayBeDebian() bool {
	u, err := url.Parse(s.uri)
	if err != nil || !slices.Contains([]string{"http", "https", "file", "copy"}, u.Scheme) ||
		u.Host == "" && u.Scheme != "file" && u.Scheme != "copy" {
		return false
	}
	return slices.Contains(s.components, "main") && (len(s.signedBy) == 0 || s.signedByDebian())
}

// signedByDebian reports whether each keyring is one of the package debian-archive-keyring.
func (s source) signedByDebian() bool {
	return len(s.signedBy) > 0 && !slices.ContainsFunc(s.signedBy, func(keyring string) bool {
		return !strings.HasPrefix(path.Base(keyring), "debian-archive-")
	})
}

// proofs counts the signs that the source is Debian's archive: its keyring, its host and a suite -updates.
func (s source) proofs(suite string, sources []source) int {
	n := 0
	if s.signedByDebian() {
		n++
	}
	if u, err := url.Parse(s.uri); err == nil && isDebianHost(u.Hostname()) {
		n++
	}
	release, _, _ := strings.Cut(suite, "-")
	if slices.ContainsFunc(sources,
		func(o source) bool { return o.uri == s.uri && slices.Contains(o.suites, release+"-updates") }) {
		n++
	}
	return n
}

func isDebianHost(host string) bool {
	return host == "debian.org" || strings.HasSuffix(host, ".debian.org")
}

// plainPath reports whether the path is a usual one of Debian's mirrors: /debian, alone or below directories with
// generic names or with the name of the host behind a proxy. Repositories of products are at /PRODUCT/debian.
func plainPath(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	plain := []string{"archive", "archives", "distributions", "distros", "ftp", "linux", "mirror", "mirrors", "os",
		"pub", "srv"}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	last := len(parts) - 1
	return parts[last] == "debian" && !slices.ContainsFunc(parts[:last], func(part string) bool {
		return !slices.Contains(plain, part) && !isDebianHost(part)
	})
}

// debianReleaseNames are names of releases in the sources of hosts.
var debianReleaseNames = []string{
	"stable", "testing", "unstable", "oldstable", "oldoldstable", "sid",
	"wheezy", "jessie", "stretch", "buster", "bullseye", "bookworm", "trixie", "forky", "duke",
}

// suiteRank returns how well a suite fits: 3 for a release of Debian, 2 and 1 for additions to one, 0 for others.
func suiteRank(suite, hostCodename string) int {
	release, addition, _ := strings.Cut(suite, "-")
	if release == "" || release != hostCodename && !slices.Contains(debianReleaseNames, release) {
		return 0
	}
	switch addition {
	case "":
		return 3
	case "updates":
		return 2
	case "backports", "backports-sloppy", "proposed-updates":
		return 1
	}
	return 0 // "-security", and suites of others ("bookworm-pgdg")
}

// readSources returns all sources of packages in the order in which apt reads them.
func readSources(files fs.FS) []source {
	names := []string{"etc/apt/sources.list"}
	for _, pattern := range []string{"etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources"} {
		more, err := fs.Glob(files, pattern)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		names = append(names, more...)
	}
	slices.Sort(names[1:])
	var all []source
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			continue
		}
		if strings.HasSuffix(name, ".sources") {
			all = append(all, parseSourceStanzas(files, data)...)
			continue
		}
		for line := range strings.Lines(string(data)) {
			all = append(all, parseSourceLine(files, line)...)
		}
	}
	return all
}

// parseSourceLine parses a line of the form "deb [option=value …] URI SUITE COMPONENT…" (sources.list(5)).
func parseSourceLine(files fs.FS, line string) []source {
	line, _, _ = strings.Cut(line, "#")
	kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
	if kind != "deb" {
		return nil
	}
	var s source
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		options, after, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return nil
		}
		for option := range strings.FieldsSeq(options) {
			if value, ok := strings.CutPrefix(option, "signed-by="); ok {
				s.signedBy = strings.Split(value, ",")
			}
		}
		rest = after
	}
	fields := strings.Fields(rest)
	const least = 2 // URI and suite; a flat repository has no components
	if len(fields) < least {
		return nil
	}
	s.suites, s.components = fields[1:2], fields[2:]
	return s.at(files, fields[:1])
}

// parseSourceStanzas parses a file in the format deb822.
func parseSourceStanzas(files fs.FS, data []byte) []source {
	stanzas, err := ReadStanzas(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	var all []source
	for _, stanza := range stanzas {
		off := []string{"no", "false", "without", "off", "disable", "0"}
		if slices.Contains(off, strings.ToLower(stanza.Get("Enabled"))) ||
			!slices.Contains(strings.Fields(stanza.Get("Types")), "deb") {
			continue
		}
		s := source{
			suites:     strings.Fields(stanza.Get("Suites")),
			components: strings.Fields(stanza.Get("Components")),
			// The words of an inline key are not names of Debian's keyrings.
			signedBy: strings.Fields(strings.ReplaceAll(stanza.Get("Signed-By"), ",", " ")),
		}
		all = append(all, s.at(files, strings.Fields(stanza.Get("URIs")))...)
	}
	return all
}

// at returns a copy of the source for each of the URIs. For a list of mirrors in a file, which cloud images use, it is
// the first mirror.
func (s source) at(files fs.FS, uris []string) []source {
	var all []source
	for _, uri := range uris {
		if list, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
			uri = firstMirror(files, strings.TrimLeft(list, "/"))
		}
		s.uri = strings.TrimRight(uri, "/")
		all = append(all, s)
	}
	return all
}

// firstMirror returns the first of a list of mirrors (apt-transport-mirror(1)): a URI per line, with options after a
// tab.
func firstMirror(files fs.FS, name string) string {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			return fields[0]
		}
	}
	return ""
}
