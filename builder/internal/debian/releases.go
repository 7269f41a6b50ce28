// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"cmp"
	_ "embed" // for the tables of distro-info
	"encoding/csv"
	"slices"
	"strings"
	"time"
)

// Vendor is the distribution that publishes a release.
type Vendor string

// Known vendors.
const (
	Debian Vendor = "Debian"
	Ubuntu Vendor = "Ubuntu"
)

// Release is one release of Debian or Ubuntu. Dates are ISO 8601 (2006-01-02), so they compare as text; an empty date
// is not known yet.
type Release struct {
	Vendor   Vendor
	Codename string
	Version  string // "13", "24.04"; empty for sid and experimental
	Created  string // when work on it began
	Released string
	EOL      string // end of the last free support (in Debian, that of the LTS team)
	// Archived is when the release leaves the archive: in Ubuntu, at the end of all support, with that which is paid for.
	// Debian's table has no such date.
	Archived string
}

// neverReleased is the creation date of sid, experimental and suites that are not in the table. It sorts after every
// release.
const neverReleased = "9999-12-31"

// releases lists the releases of distro-info-data in chronological order: Debian's, then Ubuntu's.
var releases = append(readReleases(Debian, debianCSV), readReleases(Ubuntu, ubuntuCSV)...)

// The tables of Debian's package distro-info-data, unchanged: that of Debian from version 0.58+deb12u6 (later ones have
// rc-buggy in the place of experimental), that of Ubuntu from 2026.10.12-1. See distro-info/COPYING.
var (
	//go:embed distro-info/debian.csv
	debianCSV string
	//go:embed distro-info/ubuntu.csv
	ubuntuCSV string
)

// readReleases parses one table. Its first line names the columns; the other lines end at the last date that is
// known. The end of the last free support is that of Debian's LTS team (eol-lts) and, for Ubuntu before 2013, that of
// the server edition (eol-server).
func readReleases(vendor Vendor, table string) []Release {
	reader := csv.NewReader(strings.NewReader(table))
	reader.FieldsPerRecord = -1
	rows, err := reader.ReadAll()
	if err != nil {
		panic("BUG: parse distro-info of " + string(vendor) + ": " + err.Error())
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
		if vendor == Ubuntu {
			r.Archived = max(r.EOL, field("eol-esm"), field("eol-legacy"))
		}
		if r.Version == "" {
			r.Created = neverReleased
		}
		all = append(all, r)
	}
	return all
}

// UnknownRelease returns a Release for a Debian suite that is not in the table. It is newer than all releases there.
func UnknownRelease(codename string) Release {
	return Release{Vendor: Debian, Codename: codename, Created: neverReleased}
}

// ReleaseOf returns the release with the given fields of os-release(5): ID, VERSION_CODENAME and VERSION_ID. Releases
// before stretch have no VERSION_CODENAME.
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

// LookupRelease returns the release with the given codename.
func LookupRelease(codename string) (Release, bool) {
	i := slices.IndexFunc(releases, func(r Release) bool { return r.Codename == codename })
	if i < 0 {
		return Release{}, false
	}
	return releases[i], true
}

// Suites returns the names of all suites that LookupSuite knows: those that stand for a release of the day, then the
// codenames, the newest release of a vendor first.
func Suites() []string {
	names := []string{"stable", "oldstable", "oldoldstable", "testing", "unstable"}
	for _, vendor := range []Vendor{Debian, Ubuntu} {
		for _, r := range slices.Backward(releases) {
			if r.Vendor == vendor {
				names = append(names, r.Codename)
			}
		}
	}
	return names
}

// LookupSuite returns the release that a suite name stands for on the given day. A codename always means the same
// release; Debian's stable, testing, unstable, oldstable and oldoldstable depend on the day.
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

// Since reports whether r is the named release of its own vendor, or a newer one.
func (r Release) Since(debian, ubuntu string) bool {
	first := debian
	if r.Vendor == Ubuntu {
		first = ubuntu
	}
	f, ok := LookupRelease(first)
	if !ok {
		panic("BUG: unknown release " + first)
	}
	return r.Created >= f.Created
}

// upTo reports whether r is the named release of Ubuntu or an older one; every release is if there is no name.
func (r Release) upTo(ubuntu string) bool {
	last, ok := LookupRelease(ubuntu)
	return ubuntu == "" || ok && r.Created <= last.Created
}

// Systemd reports whether init is systemd.
func (r Release) Systemd() bool { return r.Since("jessie", "vivid") }

// Sysvinit reports whether init reads /etc/inittab (Debian up to wheezy; Ubuntu has not used it since 2006).
func (r Release) Sysvinit() bool { return r.Vendor == Debian && !r.Systemd() }

// Resolved reports whether systemd-resolved is used together with systemd-networkd (table B.8 of the specification).
// Wheezy has no systemd-resolved, and jessie's is not ready for use.
func (r Release) Resolved() bool { return r.Since("stretch", "xenial") }

// ResolvedPackage reports whether systemd-resolved is a separate package, on which no other depends.
func (r Release) ResolvedPackage() bool { return r.Since("bookworm", "lunar") }

// FirstBoot reports whether systemd knows the machine ID "uninitialized", as it does since version 247.
func (r Release) FirstBoot() bool { return r.Since("bullseye", "hirsute") }

// PresetIgnore reports whether the presets of systemd have the directive "ignore", as they have since version 254.
func (r Release) PresetIgnore() bool { return r.Since("trixie", "noble") }

// Deb822Sources reports whether apt's own tools write deb822 .sources files instead of one-line .list files.
func (r Release) Deb822Sources() bool { return r.Since("trixie", "noble") }

// MergedUsr reports whether /bin, /lib and /sbin are symbolic links into /usr on a fresh system.
func (r Release) MergedUsr() bool { return r.Since("buster", "disco") }

// SecuritySuite returns the name of the suite with security updates: "trixie-security", "buster/updates",
// "noble-security". It returns "" for sid, experimental and unknown suites, which have none.
func (r Release) SecuritySuite() string {
	switch {
	case r.Created == neverReleased:
		return ""
	case r.Vendor == Debian && !r.Since("bullseye", ""):
		return r.Codename + "/updates"
	}
	return r.Codename + "-security"
}

// Moved reports whether, on the given day, the release is in Ubuntu's archive of old releases and in no other.
func (r Release) Moved(today time.Time) bool {
	return r.Archived != "" && r.Archived < today.UTC().Format(time.DateOnly)
}

// KernelRecommendsInitramfs reports whether kernels only recommend the program that makes the initramfs, as Ubuntu's
// do; Debian's depend on it.
func (r Release) KernelRecommendsInitramfs() bool { return r.Vendor == Ubuntu }

// Components returns the components of the archive that a working system needs.
func (r Release) Components() []string {
	if r.Vendor == Ubuntu {
		return []string{"main", "universe"}
	}
	return []string{"main"}
}
