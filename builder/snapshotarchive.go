// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
)

// snapshotFlag is the option of snapshot archives, for messages and locks.
const snapshotFlag = "--snapshot"

// SnapshotLayout is the layout of package time in which snapshot archives name a time.
const SnapshotLayout = "20060102T150405Z"

// snapshotLayouts are those that --snapshot accepts.
var snapshotLayouts = []string{SnapshotLayout, time.DateOnly, time.RFC3339}

// debianSnapshots is Debian's own snapshot archive.
var debianSnapshots = secret.NewURL("http://snapshot.debian.org")

// firstSnapshot is the year from which Debian's snapshot archive has files.
const firstSnapshot = 2005

// ParseSnapshot reads the value of --snapshot. A date alone is its first second, in UTC.
func ParseSnapshot(text string) (time.Time, error) {
	for _, layout := range snapshotLayouts {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if t.Year() < firstSnapshot {
			return time.Time{}, fmt.Errorf("%q is before %d, when the snapshots begin", text, firstSnapshot)
		}
		return t.UTC().Truncate(time.Second), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time like 2026-01-31, 2026-01-31T06:30:00Z or 20260131T063000Z", text)
}

// archiveSnapshot is a state of Debian's archives that a snapshot archive keeps.
type archiveSnapshot struct {
	Time time.Time
	// Main and Security are the URLs of the archives at that time, without a slash at their end.
	Main, Security secret.URL
}

// newArchiveSnapshot returns the state at a time in the snapshot archive at base.
func newArchiveSnapshot(base secret.URL, at time.Time) archiveSnapshot {
	of := func(archive string) secret.URL {
		return secret.NewURL(withoutSlash(base).Reveal() + "/archive/" + archive + "/" + at.Format(SnapshotLayout))
	}
	return archiveSnapshot{at, of("debian"), of("debian-security")}
}

// chooseSnapshot decides what --snapshot stands for: what the build is made of or, with a lock that was made without
// it, where to look for what the mirrors of the lock no longer have.
func (s *Spec) chooseSnapshot() {
	if s.o.Snapshot.IsZero() {
		return
	}
	s.o.SnapshotMirror = withLogin(cmp.Or(s.o.SnapshotMirror, debianSnapshots), s.w.Netrc)
	given := newArchiveSnapshot(s.o.SnapshotMirror, s.o.Snapshot)
	switch {
	case s.w.Locked == nil:
		s.snapshot = given
	case lockHasSnapshot(s.w.Locked):
		s.snapshot, s.furtherSnapshot = given.locked(s.w.Locked, s.w.Netrc), given
	default:
		s.furtherSnapshot = given
		return
	}
	s.w.Today = s.snapshot.Time
}

// lockHasSnapshot reports whether a lock is of a build with --snapshot.
func lockHasSnapshot(l *lockfile.File) bool {
	return slices.ContainsFunc(l.Settings,
		func(setting lockfile.Setting) bool { return "--"+setting.Name == snapshotFlag })
}

// locked returns the snapshot at the place that a lock names for it, which may be another one than that of a.
func (a archiveSnapshot) locked(l *lockfile.File, netrc secret.Text) archiveSnapshot {
	image, _ := l.Suite(lockfile.UseImage)
	if image.Mirror == a.Main.Bare().Reveal() {
		return a
	}
	a.Main = withLogin(secret.NewURL(image.Mirror), netrc)
	for _, suite := range l.Suites {
		if suite.Suite == securitySuite(image.Codename) {
			a.Security = withLogin(secret.NewURL(suite.Mirror), netrc)
		}
	}
	return a
}

// ofSnapshot reports whether the image is made of a snapshot.
func (s Spec) ofSnapshot() bool { return !s.snapshot.Time.IsZero() }

// mirror returns the URL that the packages of the image come from.
func (s Spec) mirror() secret.URL {
	if s.ofSnapshot() {
		return s.snapshot.Main
	}
	return s.o.Mirror
}

// SnapshotTime is the time of the archives that the image is made of; the zero time without --snapshot.
func (s Spec) SnapshotTime() time.Time { return s.snapshot.Time }

// Clock is the time with which those of signatures are compared: now, or when the lock was made.
func (s Spec) Clock() time.Time { return s.clock }

// outsideSnapshot returns a copy of a client of the build's mirror for an archive that is in no snapshot.
func outsideSnapshot(client *archive.Client) *archive.Client {
	own := *client
	own.Snapshot = time.Time{}
	return &own
}

// snapshotPockets returns the pockets of a build from a snapshot: a system of a day has the updates of the day.
func (s Spec) snapshotPockets() []string {
	if s.release.SecuritySuite() == "" {
		return nil
	}
	return append([]string{pocketUpdates, pocketSecurity}, packageNames(s.o.Pockets)...)
}

// snapshotFits: --snapshot is of the past, and there is such an archive.
func snapshotFits(s Spec) []error {
	switch at := s.o.Snapshot; {
	case at.IsZero() && !s.o.SnapshotMirror.IsZero():
		return problem.New("--snapshot-mirror", "it needs %s DATE", snapshotFlag)
	case at.IsZero():
		return nil
	case at.After(s.now):
		return problem.New(snapshotFlag, "%s is in the future", at.Format(SnapshotLayout))
	case s.release.Vendor == debian.Ubuntu:
		return problem.New(snapshotFlag, "it knows the archives of Debian only: name the state of a snapshot archive of "+
			"Ubuntu with --mirror, and give --allow-expired")
	case slices.Contains(packageNames(s.o.Pockets), PocketsNone):
		return problem.New("--pockets", "%s contradicts %s, which has updates and security always: leave it out",
			PocketsNone, snapshotFlag)
	case s.ofSnapshot() && s.o.ToolsMirror.IsZero() && !s.toolsFromTarget() && !hasUsableTools(s.toolboxSuite()):
		return problem.New(snapshotFlag, "debootstrap and other programs of a build cannot be as old as %s: name a mirror "+
			"that has a newer release with --tools-mirror", s.toolboxSuite())
	}
	return nil
}

// hasUsableTools reports whether a release is new enough for the programs of a build.
func hasUsableTools(codename string) bool {
	r, known := debian.LookupRelease(codename)
	return !known || r.Since(oldestTools, "")
}

// newMirrorsStep returns the step that puts the mirrors of the image in the place of the snapshot; ok is false where
// the build has none.
func newMirrorsStep(s Spec) (m step.Mirrors, ok bool) {
	if !s.ofSnapshot() {
		return m, false
	}
	main, security := s.o.Mirror, cmp.Or(s.o.SecurityMirror, debianSecurity)
	if !s.o.AptMirror.IsZero() {
		main = s.o.AptMirror
	}
	for _, r := range []step.MirrorReplacement{{From: s.snapshot.Main, To: main},
		{From: s.snapshot.Security, To: security}} {
		if !r.From.IsZero() {
			m.Replacements = append(m.Replacements, step.MirrorReplacement{From: withoutSlash(r.From.Bare()),
				To: withoutSlash(r.To.Bare())})
		}
	}
	return m, true
}

// Mirrors are those of each archive that has several, by the first of which the archive is known.
func (s Spec) Mirrors() []*archive.Mirrors {
	main := []secret.URL{s.mirror()}
	if !s.ofSnapshot() { // others have another state
		main = append(main, s.o.OtherMirrors...)
	}
	archives := [][]secret.URL{append(main, s.furtherSnapshot.Main), {s.securityMirror(), s.furtherSnapshot.Security}}
	if withoutSlash(archives[1][0]) == withoutSlash(main[0]) {
		archives = [][]secret.URL{slices.Concat(archives[0], archives[1][1:])}
	}
	var all []*archive.Mirrors
	for _, urls := range archives {
		var others []string
		for _, u := range urls[1:] {
			if !u.IsZero() && withoutSlash(u) != withoutSlash(urls[0]) {
				others = append(others, u.Reveal())
			}
		}
		if len(others) > 0 {
			all = append(all, archive.NewMirrors(urls[0].Reveal(), others...))
		}
	}
	return all
}
