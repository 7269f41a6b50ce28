package builder

import (
	"cmp"
	"slices"
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

// releases are all that distro-info-data 0.58+deb12u6 (2026) knows, in the order in which each vendor made them.
var releases = []Release{
	{Debian, "buzz", "1.1", "1993-08-16", "1996-06-17", "1997-06-05"},
	{Debian, "rex", "1.2", "1996-06-17", "1996-12-12", "1998-06-05"},
	{Debian, "bo", "1.3", "1996-12-12", "1997-06-05", "1999-03-09"},
	{Debian, "hamm", "2.0", "1997-06-05", "1998-07-24", "2000-03-09"},
	{Debian, "slink", "2.1", "1998-07-24", "1999-03-09", "2000-10-30"},
	{Debian, "potato", "2.2", "1999-03-09", "2000-08-15", "2003-06-30"},
	{Debian, "woody", "3.0", "2000-08-15", "2002-07-19", "2006-06-30"},
	{Debian, "sarge", "3.1", "2002-07-19", "2005-06-06", "2008-03-31"},
	{Debian, "etch", "4.0", "2005-06-06", "2007-04-08", "2010-02-15"},
	{Debian, "lenny", "5.0", "2007-04-08", "2009-02-14", "2012-02-06"},
	{Debian, "squeeze", "6.0", "2009-02-14", "2011-02-06", "2016-02-29"},
	{Debian, "wheezy", "7", "2011-02-06", "2013-05-04", "2018-05-31"},
	{Debian, "jessie", "8", "2013-05-04", "2015-04-26", "2020-06-30"},
	{Debian, "stretch", "9", "2015-04-26", "2017-06-17", "2022-06-30"},
	{Debian, "buster", "10", "2017-06-17", "2019-07-06", "2024-06-30"},
	{Debian, "bullseye", "11", "2019-07-06", "2021-08-14", "2026-08-31"},
	{Debian, "bookworm", "12", "2021-08-14", "2023-06-10", "2028-06-30"},
	{Debian, "trixie", "13", "2023-06-10", "2025-08-09", "2030-06-30"},
	{Debian, "forky", "14", "2025-08-09", "", ""},
	{Debian, "duke", "15", "2027-08-01", "", ""},
	{Debian, "sid", "", alwaysInMotion, "", ""},
	{Debian, "experimental", "", alwaysInMotion, "", ""},
	{Ubuntu, "warty", "4.10", "2004-03-05", "2004-10-20", "2006-04-30"},
	{Ubuntu, "hoary", "5.04", "2004-10-20", "2005-04-08", "2006-10-31"},
	{Ubuntu, "breezy", "5.10", "2005-04-08", "2005-10-12", "2007-04-13"},
	{Ubuntu, "dapper", "6.06", "2005-10-12", "2006-06-01", "2011-06-01"},
	{Ubuntu, "edgy", "6.10", "2006-06-01", "2006-10-26", "2008-04-25"},
	{Ubuntu, "feisty", "7.04", "2006-10-26", "2007-04-19", "2008-10-19"},
	{Ubuntu, "gutsy", "7.10", "2007-04-19", "2007-10-18", "2009-04-18"},
	{Ubuntu, "hardy", "8.04", "2007-10-18", "2008-04-24", "2013-05-09"},
	{Ubuntu, "intrepid", "8.10", "2008-04-24", "2008-10-30", "2010-04-30"},
	{Ubuntu, "jaunty", "9.04", "2008-10-30", "2009-04-23", "2010-10-23"},
	{Ubuntu, "karmic", "9.10", "2009-04-23", "2009-10-29", "2011-04-30"},
	{Ubuntu, "lucid", "10.04", "2009-10-29", "2010-04-29", "2015-04-30"},
	{Ubuntu, "maverick", "10.10", "2010-04-29", "2010-10-10", "2012-04-10"},
	{Ubuntu, "natty", "11.04", "2010-10-10", "2011-04-28", "2012-10-28"},
	{Ubuntu, "oneiric", "11.10", "2011-04-28", "2011-10-13", "2013-05-09"},
	{Ubuntu, "precise", "12.04", "2011-10-13", "2012-04-26", "2017-04-28"},
	{Ubuntu, "quantal", "12.10", "2012-04-26", "2012-10-18", "2014-05-16"},
	{Ubuntu, "raring", "13.04", "2012-10-18", "2013-04-25", "2014-01-27"},
	{Ubuntu, "saucy", "13.10", "2013-04-25", "2013-10-17", "2014-07-17"},
	{Ubuntu, "trusty", "14.04", "2013-10-17", "2014-04-17", "2019-04-25"},
	{Ubuntu, "utopic", "14.10", "2014-04-17", "2014-10-23", "2015-07-23"},
	{Ubuntu, "vivid", "15.04", "2014-10-23", "2015-04-23", "2016-02-04"},
	{Ubuntu, "wily", "15.10", "2015-04-23", "2015-10-22", "2016-07-28"},
	{Ubuntu, "xenial", "16.04", "2015-10-22", "2016-04-21", "2021-04-30"},
	{Ubuntu, "yakkety", "16.10", "2016-04-21", "2016-10-13", "2017-07-20"},
	{Ubuntu, "zesty", "17.04", "2016-10-13", "2017-04-13", "2018-01-13"},
	{Ubuntu, "artful", "17.10", "2017-04-13", "2017-10-19", "2018-07-19"},
	{Ubuntu, "bionic", "18.04", "2017-10-19", "2018-04-26", "2023-05-31"},
	{Ubuntu, "cosmic", "18.10", "2018-04-26", "2018-10-18", "2019-07-18"},
	{Ubuntu, "disco", "19.04", "2018-10-18", "2019-04-18", "2020-01-23"},
	{Ubuntu, "eoan", "19.10", "2019-04-18", "2019-10-17", "2020-07-17"},
	{Ubuntu, "focal", "20.04", "2019-10-17", "2020-04-23", "2025-05-29"},
	{Ubuntu, "groovy", "20.10", "2020-04-23", "2020-10-22", "2021-07-22"},
	{Ubuntu, "hirsute", "21.04", "2020-10-22", "2021-04-22", "2022-01-20"},
	{Ubuntu, "impish", "21.10", "2021-04-22", "2021-10-14", "2022-07-14"},
	{Ubuntu, "jammy", "22.04", "2021-10-14", "2022-04-21", "2027-06-01"},
	{Ubuntu, "kinetic", "22.10", "2022-04-21", "2022-10-20", "2023-07-20"},
	{Ubuntu, "lunar", "23.04", "2022-10-20", "2023-04-20", "2024-01-25"},
	{Ubuntu, "mantic", "23.10", "2023-04-20", "2023-10-12", "2024-07-11"},
	{Ubuntu, "noble", "24.04", "2023-10-12", "2024-04-25", "2029-05-31"},
	{Ubuntu, "oracular", "24.10", "2024-04-25", "2024-10-10", "2025-07-10"},
	{Ubuntu, "plucky", "25.04", "2024-10-10", "2025-04-17", "2026-01-15"},
	{Ubuntu, "questing", "25.10", "2025-04-17", "2025-10-09", "2026-07-09"},
	{Ubuntu, "resolute", "26.04", "2025-10-09", "2026-04-23", "2031-05-29"},
}

// lookupRelease finds a release by its codename.
func lookupRelease(codename string) (Release, bool) {
	i := slices.IndexFunc(releases, func(r Release) bool { return r.Codename == codename })
	if i < 0 {
		return Release{}, false
	}
	return releases[i], true
}

// resolveSuite finds the release that a suite name stands for on a day: a codename always for the same one, Debian's
// stable, testing, unstable, oldstable and oldoldstable for whichever has that place then.
func resolveSuite(name string, today time.Time) (Release, bool) {
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
		return lookupRelease("sid")
	}
	return lookupRelease(name)
}

// since reports whether r is one of the two releases named, or newer than the one of its own vendor.
func (r Release) since(debian, ubuntu string) bool {
	first := debian
	if r.Vendor == Ubuntu {
		first = ubuntu
	}
	f, ok := lookupRelease(first)
	if !ok {
		panic("BUG: no release " + first)
	}
	return r.Created >= f.Created
}

// Systemd reports whether systemd is init.
func (r Release) Systemd() bool { return r.since("jessie", "vivid") }

// Sysvinit reports whether /etc/inittab rules (wheezy and before; Ubuntu has never used it since 2006).
func (r Release) Sysvinit() bool { return r.Vendor == Debian && !r.Systemd() }

// Resolved reports whether systemd-networkd goes with systemd-resolved: everywhere but where resolved is
// not there yet (wheezy) or not ready (jessie), table B.8 of the specification.
func (r Release) Resolved() bool { return r.since("stretch", "xenial") }

// ResolvedPackage reports whether systemd-resolved is a package of its own, which nothing else pulls in.
func (r Release) ResolvedPackage() bool { return r.since("bookworm", "lunar") }

// Deb822Sources reports whether apt's own tools write deb822 .sources files instead of one-line .list files.
func (r Release) Deb822Sources() bool { return r.since("trixie", "noble") }

// MergedUsr reports whether /bin, /lib and /sbin are symbolic links into /usr on a fresh system.
func (r Release) MergedUsr() bool { return r.since("buster", "disco") }

// SecuritySuite is the name of the suite with security updates: "trixie-security", "buster/updates",
// "noble-security"; empty for sid, experimental and unknown suites, which have none.
func (r Release) SecuritySuite() string {
	switch {
	case r.Created == alwaysInMotion:
		return ""
	case r.Vendor == Debian && !r.since("bullseye", ""):
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
