// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"cmp"
	_ "embed" // the tables
	"encoding/csv"
	"slices"
	"strings"
	"time"
)

// Vendor is who makes a release.
type Vendor string

// The vendors whose releases are known.
const (
	Debian Vendor = "Debian"
	Ubuntu Vendor = "Ubuntu"
)

// Release is one release of Debian or Ubuntu. Dates are ISO 8601 (2006-01-02), so they compare as text; an empty one
// is not known yet.
type Release struct {
	Vendor   Vendor
	Codename string
	Version  string // "13", "24.04"; empty for sid and experimental
	Created  string // when work on it began
	Released string
	EOL      string // when the last free support ends (for Debian that of the LTS team)
}

// alwaysInMotion is the creation date that puts sid, experimental and suites unknown to the table after every release.
const alwaysInMotion = "9999-12-31"

// releases are all that distro-info-data knows, in the order in which each vendor made them: Debian's, then Ubuntu's.
var releases = append(readReleases(Debian, debianCSV), readReleases(Ubuntu, ubuntuCSV)...)

// The tables of Debian's package distro-info-data 0.58+deb12u6 (2026), unchanged; see distro-info/COPYING.
var (
	//go:embed distro-info/debian.csv
	debianCSV string
	//go:embed distro-info/ubuntu.csv
	ubuntuCSV string
)

// readReleases reads one table. Its first line names the columns; a line ends with the last date that is
// known. The last free support is that of Debian's LTS team (eol-lts) and, in Ubuntu before 2013, that of
// servers (eol-server).
func readReleases(vendor Vendor, table string) []Release {
	reader := csv.NewReader(strings.NewReader(table))
	reader.FieldsPerRecord = -1
	rows, err := reader.ReadAll()
	if err != nil {
		panic("BUG: distro-info of " + string(vendor) + ": " + err.Error())
	}
	columns := rows[0]
	var all []Release
	for _, row := range rows[1:] {
		field := func(name string) string {
			if i := slices.Index(columns, name); i >= 0 && i < len(row) {
				return row[i]
			}
			return ""
		}
		version, _, _ := strings.Cut(field("version"), " ") // "24.04 LTS"
		r := Release{
			Vendor: vendor, Codename: field("series"), Version: version,
			Created: field("created"), Released: field("release"), EOL: cmp.Or(field("eol-lts"), field("eol-server"),
				field("eol")),
		}
		if r.Version == "" {
			r.Created = alwaysInMotion
		}
		all = append(all, r)
	}
	return all
}

// UnknownRelease is a suite of Debian that the table does not have: newer than all that it has.
func UnknownRelease(codename string) Release {
	return Release{Vendor: Debian, Codename: codename, Created: alwaysInMotion}
}

// ReleaseOf returns the release that an os-release(5) describes by its fields ID, VERSION_CODENAME and, before stretch,
// VERSION_ID alone.
func ReleaseOf(id, codename, version string) (Release, bool) {
	is := func(r Release) bool { return strings.EqualFold(string(r.Vendor), id) }
	if r, known := LookupRelease(codename); known && is(r) {
		return r, true
	}
	i := slices.IndexFunc(releases, func(r Release) bool { return is(r) && r.Version != "" && r.Version == version })
	if i < 0 {
		return Release{}, false
	}
	return releases[i], true
}

// LookupRelease finds a release by its codename.
func LookupRelease(codename string) (Release, bool) {
	i := slices.IndexFunc(releases, func(r Release) bool { return r.Codename == codename })
	if i < 0 {
		return Release{}, false
	}
	return releases[i], true
}

// LookupSuite finds the release that a suite name stands for on a day: a codename always for the same one, Debian's
// stable, testing, unstable, oldstable and oldoldstable for whichever has that place then.
func LookupSuite(name string, today time.Time) (Release, bool) {
	day := today.UTC().Format(time.DateOnly)
	var out, coming []Release
	for _, r := range releases {
		switch {
		case r.Vendor != Debian || r.Created > day:
		case r.Released != "" && r.Released <= day:
			out = append(out, r)
		default:
			coming = append(coming, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Release) int { return cmp.Compare(b.Released, a.Released) })
	age := map[string]int{"stable": 0, "oldstable": 1, "oldoldstable": 2}
	switch name {
	case "stable", "oldstable", "oldoldstable":
		if age[name] >= len(out) {
			return Release{}, false
		}
		return out[age[name]], true
	case "testing":
		if len(coming) == 0 {
			return Release{}, false
		}
		return coming[0], true
	case "unstable":
		return LookupRelease("sid")
	}
	return LookupRelease(name)
}

// Since reports whether r is one of the two releases named, or newer than the one of its own vendor.
func (r Release) Since(debian, ubuntu string) bool {
	first := debian
	if r.Vendor == Ubuntu {
		first = ubuntu
	}
	f, ok := LookupRelease(first)
	if !ok {
		panic("BUG: no release " + first)
	}
	return r.Created >= f.Created
}

// Systemd reports whether systemd is init.
func (r Release) Systemd() bool { return r.Since("jessie", "vivid") }

// Sysvinit reports whether /etc/inittab rules (wheezy and before; Ubuntu has never used it since 2006).
func (r Release) Sysvinit() bool { return r.Vendor == Debian && !r.Systemd() }

// Resolved reports whether systemd-networkd goes with systemd-resolved: everywhere but where resolved is
// not there yet (wheezy) or not ready (jessie), table B.8 of the specification.
func (r Release) Resolved() bool { return r.Since("stretch", "xenial") }

// ResolvedPackage reports whether systemd-resolved is a package of its own, which nothing else pulls in.
func (r Release) ResolvedPackage() bool { return r.Since("bookworm", "lunar") }

// Deb822Sources reports whether apt's own tools write deb822 .sources files instead of one-line .list files.
func (r Release) Deb822Sources() bool { return r.Since("trixie", "noble") }

// MergedUsr reports whether /bin, /lib and /sbin are symbolic links into /usr on a fresh system.
func (r Release) MergedUsr() bool { return r.Since("buster", "disco") }

// SecuritySuite is the name of the suite with security updates: "trixie-security", "buster/updates",
// "noble-security"; empty for sid, experimental and unknown suites, which have none.
func (r Release) SecuritySuite() string {
	switch {
	case r.Created == alwaysInMotion:
		return ""
	case r.Vendor == Debian && !r.Since("bullseye", ""):
		return r.Codename + "/updates"
	}
	return r.Codename + "-security"
}

// Components are the archive's components that a working system needs.
func (r Release) Components() []string {
	if r.Vendor == Ubuntu {
		return []string{"main", "universe"}
	}
	return []string{"main"}
}
