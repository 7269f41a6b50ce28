// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
)

// Days on which the archive of newSnapshots has a state. Each expires after a week.
var (
	firstDay  = time.Date(2025, 2, 1, 8, 30, 0, 0, time.UTC)
	secondDay = time.Date(2025, 2, 6, 8, 30, 0, 0, time.UTC)
)

// newSnapshots starts an archive with two states in its snapshot archive: less 1.0, then less 2.0. The security archive
// was kept some hours after the main one.
func newSnapshots(t *testing.T) *offline {
	t.Helper()
	o := newOffline(t)
	o.keep("debian", firstDay, firstDay)
	o.keep("debian-security", firstDay, firstDay.Add(5*time.Hour))
	o.repo.Add(archivetest.Deb{Name: "less", Version: "2.0"})
	o.keep("debian", secondDay, secondDay)
	o.keep("debian-security", secondDay, secondDay.Add(5*time.Hour))
	return o
}

// keep keeps the present state of an archive, of the given date, under a time.
func (o *offline) keep(name string, date, at time.Time) {
	o.t.Helper()
	o.repo.Configure(archivetest.Options{Date: date, ValidUntil: date.AddDate(0, 0, 7)})
	suites := []string{"trixie", "trixie-updates"}
	if name == "debian-security" {
		suites = []string{"trixie-security"}
	}
	o.repo.Snapshot(name, at, suites...)
}

// snapshot returns the options of a build from the snapshot archive.
func (o *offline) snapshot(date string, more ...string) []string {
	return append([]string{"--snapshot=" + date, "--snapshot-mirror=" + o.repo.SnapshotURL()}, more...)
}

// writeScript writes a script of the working directory, and returns its name.
func (o *offline) writeScript(name, text string) string {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte("#!/bin/sh -e\n"+text), 0o755); err != nil {
		o.t.Fatal(err)
	}
	return "./" + name
}

// Issue 18, 2: the build has the state of a time, with all pockets; the image has the mirrors.
func TestSnapshotIsTheStateOfATime(t *testing.T) {
	t.Parallel()
	o := newSnapshots(t)
	hook := o.writeScript("keep.sh", "mkdir $1/opt\ncp $1/etc/apt/sources.list $1/opt/\ncp $1/var/lib/apt/lists/* $1/opt/\n")
	for _, tt := range []struct{ date, main, security string }{
		{"2025-02-03", "20250203T000000Z", "20250203T000000Z"},
		{"2025-02-07T01:00:00+01:00", "20250207T000000Z", "20250207T000000Z"},
	} {
		o.build(o.machine(), o.snapshot(tt.date, "--customize="+hook)...)
		files := o.files()
		want := "Date: " + firstDay.Format("Mon, 02 Jan 2006")
		if tt.date != "2025-02-03" {
			want = "Date: " + secondDay.Format("Mon, 02 Jan 2006")
		}
		release := files["etc/InRelease"]
		if !strings.Contains(release, want) {
			t.Errorf("%s: debootstrap had the state %q", tt.date, release)
		}
		base := strings.TrimPrefix(o.repo.SnapshotURL(), "http://") + "_archive_debian"
		list := strings.ReplaceAll(base+"-security_"+tt.security, "/", "_") + "_dists_trixie-security_InRelease"
		security := files["opt/"+list]
		if !strings.Contains(security, want) {
			t.Errorf("%s: apt had the security updates %q", tt.date, security)
		}
		main := o.repo.SnapshotURL() + "/archive/debian/" + tt.main
		during := "deb " + main + " trixie main\ndeb " + main + " trixie-updates main\ndeb " + o.repo.SnapshotURL() +
			"/archive/debian-security/" + tt.security + " trixie-security main\n"
		if got := files["opt/sources.list"]; got != during {
			t.Errorf("%s: hooks had the sources %q, want %q", tt.date, got, during)
		}
		image := "deb " + o.repo.URL() + " trixie main\ndeb " + o.repo.URL() + " trixie-updates main\n" +
			"deb http://security.debian.org/debian-security trixie-security main\n"
		if got := files["etc/apt/sources.list"]; got != image {
			t.Errorf("%s: the image has the sources %q, want %q", tt.date, got, image)
		}
	}
	for _, path := range o.repo.Requests() {
		if !strings.HasPrefix(path, "archive/") {
			t.Errorf("the mirror was asked for %s", path)
		}
	}
}

// Issue 18, 2: it fails closed, before the work.
func TestSnapshotThatIsIncompleteIsAnError(t *testing.T) {
	t.Parallel()
	o := newSnapshots(t)
	alone := newOffline(t) // without the security archive
	alone.keep("debian", firstDay, firstDay)
	later := newOffline(t) // it serves today's state under all times
	later.keep("debian", secondDay, firstDay)
	later.keep("debian-security", secondDay, firstDay)
	for _, tt := range []struct {
		of   *offline
		args []string
		want string
	}{
		{o, o.snapshot("2025-01-31"), `look up suite trixie: get ` + o.repo.SnapshotURL() +
			"/archive/debian/20250131T000000Z/dists/trixie/Release: 404"},
		// An archive that has not been kept for days does not have that day's updates.
		{o, o.snapshot("2025-03-01"), "it expired on Thu, 13 Feb 2025 08:30:00 UTC, and today is Sat, 01 Mar 2025"},
		{o, o.snapshot("2099-01-01"), "--snapshot: 20990101T000000Z is in the future"},
		{o, o.snapshot("yesterday"), `--snapshot: "yesterday" is not a time like 2026-01-31, 2026-01-31T06:30:00Z or `},
		{o, o.snapshot("2025-02-03", "--pockets=none"), "--pockets: none contradicts --snapshot"},
		{o, []string{"--snapshot-mirror=http://x.example"}, "--snapshot-mirror: it needs --snapshot DATE"},
		{alone, alone.snapshot("2025-02-03"), `--snapshot: look up suite trixie-security: get ` +
			alone.repo.SnapshotURL() + "/archive/debian-security/20250203T000000Z/dists/trixie-security/Release: 404"},
		{later, later.snapshot("2025-02-03"),
			"InRelease is of Thu, 06 Feb 2025 08:30:00 UTC, after the time of the snapshot, Mon, 03 Feb 2025 00:00:00 UTC: "},
	} {
		text, err := tt.of.try(tt.of.machine(), tt.args...)
		if err == nil || !strings.Contains(text, tt.want) {
			t.Errorf("%q: %v: got %s\nwant %q in it", tt.args, err, text, tt.want)
		}
		if exists(t, filepath.Join(tt.of.dir, "out.tar")) || tt.of.repo.Count(".deb") > 0 {
			t.Errorf("%q: the work had begun", tt.args)
		}
	}
}

// Issue 18, 2 and 3: a lock has the snapshot, and a rebuild uses it on another day.
func TestRebuildUsesTheSnapshotOfTheLock(t *testing.T) {
	t.Parallel()
	o := newSnapshots(t)
	build := o.snapshot("2025-02-03", "--lock-file=out.lock", "--customize="+o.installs())
	o.build(o.machine(), build...)
	first, lock := o.content("out.tar"), o.readLock("out.lock")
	for _, want := range []lockfile.Setting{{Name: "snapshot", Value: "20250203T000000Z"},
		{Name: "snapshot-mirror", Value: o.repo.SnapshotURL()}} {
		if !slices.Contains(lock.Settings, want) {
			t.Errorf("the lock has the settings %v, want %v among them", lock.Settings, want)
		}
	}
	if suite, _ := lock.Suite(lockfile.UseImage); !suite.Date.Equal(firstDay) ||
		suite.Mirror != o.repo.SnapshotURL()+"/archive/debian/20250203T000000Z" {
		t.Errorf("the lock has the suite %+v", suite)
	}
	if time.Since(lock.Made) > time.Hour {
		t.Errorf("the lock was made on %v", lock.Made)
	}
	text, err := o.rebuild("--verify", "out.lock", "out.tar", "--state-dir="+o.machine())
	if err != nil || !strings.Contains(text, "out.tar is what out.lock makes: all ") {
		t.Errorf("%v: got %s", err, text)
	}
	// Another server of the same archive stands in for one that is gone.
	host := strings.TrimPrefix(o.repo.SnapshotURL(), "http://")
	o.repo.InjectAlways(host, archivetest.Fault{Status: 404})
	other := strings.TrimSuffix(o.repo.OtherMirror(), "/debian")
	text, err = o.rebuild("--verify", "out.lock", "out.tar", "--state-dir="+o.machine(), "--snapshot-mirror="+other)
	if err != nil || !strings.Contains(text, "out.tar is what out.lock makes: all ") {
		t.Errorf("%v: got %s", err, text)
	}
	if o.content("out.tar") != first {
		t.Error("the tarball was written")
	}
	o.fails("the lock was made with --snapshot=20250203T000000Z, and this build has --snapshot=20250207T000000Z", o.machine(),
		o.snapshot("2025-02-07", "--lock-file=out.lock", "--customize=./installs.sh")...)
}

// Issue 18, 2: what the mirrors of a lock no longer have comes from a snapshot, what a hook installs too.
func TestSnapshotStandsInForTheMirrorsOfALock(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.repo.Configure(archivetest.Options{Date: firstDay})
	o.repo.Snapshot("debian", firstDay, "trixie", "trixie-updates")
	o.repo.Snapshot("debian-security", firstDay, "trixie-security")
	o.installs()
	hook := o.writeScript("hook.sh", "./installs.sh $1\nls $1/var/cache/apt/archives >debs\n")
	build := []string{"--lock-file=out.lock", "--pockets=updates,security", "--security-mirror=" + o.repo.URL(),
		"--customize=" + hook}
	o.build(o.machine(), build...)
	first := o.content("out.tar")
	o.repo.InjectAlways(strings.TrimPrefix(o.repo.URL(), "http://"), archivetest.Fault{Status: 404})
	o.fails(`InRelease of suite "trixie" of the lock can no longer be had`, o.machine(), build...)
	o.build(o.machine(), append(build, o.snapshot("2025-02-03")...)...)
	if o.content("out.tar") != first {
		t.Error("the build from the snapshot made another tarball")
	}
	if debs := o.content("debs"); !strings.Contains(debs, "less_1.0_amd64.deb\n") {
		t.Errorf("the hook's apt had %q", debs)
	}
}
