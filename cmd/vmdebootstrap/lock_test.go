// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
)

// content returns a file of the working directory.
func (o *offline) content(name string) string {
	o.t.Helper()
	text, err := os.ReadFile(filepath.Join(o.dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text)
}

// readLock reads a lock of the working directory.
func (o *offline) readLock(name string) lockfile.File {
	o.t.Helper()
	lock, err := lockfile.Read(strings.NewReader(o.content(name)))
	if err != nil {
		o.t.Fatal(err)
	}
	return lock
}

// fails builds and expects an error with a text, and that the tarball stays as it was.
func (o *offline) fails(want, state string, args ...string) {
	o.t.Helper()
	before := o.content("out.tar")
	text, err := o.try(state, args...)
	if err == nil || !strings.Contains(text, want) {
		o.t.Errorf("%v: got %s\nwant %q in it", err, text, want)
	}
	if o.content("out.tar") != before {
		o.t.Errorf("want %q: the tarball was written", want)
	}
}

// Issue 18, 2: a lock makes a build reproducible, and later builds have its packages although the mirror has newer
// ones.
func TestLockBuildsTheSameAgain(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state, hook := o.machine(), o.installs()
	build := []string{"--customize=" + hook, "--lock-file=out.lock", "--user=alice/secret"}
	o.build(state, build...)
	first, lock := o.content("out.tar"), o.content("out.lock")
	l := o.readLock("out.lock")
	deb, _ := o.repo.Get("pool/main/l/less/less_1.0_amd64.deb")
	if len(l.Packages) != 2 || l.Packages[0].Name != "less" || l.Packages[0].SHA256 != sha256Text(deb) {
		t.Errorf("got the packages %+v", l.Packages)
	}
	release, _ := o.repo.Get("dists/trixie/InRelease")
	suite, ok := l.Suite(lockfile.UseTools)
	if !ok || suite.Files[0].SHA256 != sha256Text(release) || len(suite.SignedBy) != 1 {
		t.Errorf("got the suites %+v", l.Suites)
	}
	if len(l.Tools) < 8 || l.Tools[0].SHA256 == "" || len(l.Inputs) != 2 || strings.Contains(lock, "secret") {
		t.Errorf("got the lock\n%s", lock)
	}

	o.repo.Add(archivetest.Deb{Name: "less", Version: "2.0"})
	o.build(state, append(build, "--no-cache")...)
	if o.content("out.tar") != first {
		t.Error("the build with the lock made another tarball")
	}
	if o.content("out.lock") != lock {
		t.Error("the build with the lock changed it")
	}
	o.fails(`InRelease of suite "trixie" of the lock can no longer be had: it is not in the cache, and `, o.machine(),
		build...)
	o.fails("HINT: --snapshot "+l.Made.UTC().Format(builder.SnapshotLayout)+", or a time some hours later, looks for it",
		o.machine(), build...)
}

// Issue 18, 2: a further mirror, such as an archive of snapshots, has what the first one no longer has.
func TestLockedPackagesComeFromAnyMirror(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	other := o.repo.OtherMirror()
	host := strings.TrimPrefix(o.repo.URL(), "http://")
	o.build(o.machine(), "--customize="+o.installs(), "--lock-file=out.lock")
	first := o.content("out.tar")
	o.repo.InjectAlways(host, archivetest.Fault{Status: 404})
	o.build(o.machine(), "--customize=./installs.sh", "--lock-file=out.lock", "--mirror="+o.repo.URL()+" "+other)
	if o.content("out.tar") != first {
		t.Error("the build from the other mirror made another tarball")
	}
}

// Issue 18: one sentence each, nothing half-written.
func TestLockThatDoesNotFitIsAnError(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state, hook := o.machine(), o.installs()
	build := func(args ...string) []string {
		return append([]string{"--customize=" + hook, "--lock-file=out.lock"}, args...)
	}
	o.build(state, build()...)
	lock := o.content("out.lock")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	o.fails("--lock-file: the lock was made with --package=, and this build has --package=less", state,
		build("--package=less")...)
	write("out.lock", strings.Replace(lock, "schema: 1", "schema: 2", 1))
	o.fails("--lock-file: read out.lock: it has schema 2, and this program reads schema 1\nHINT: use vmdebootstrap ", state,
		build()...)
	write("out.lock", lock[:len(lock)/2])
	o.fails("--lock-file: read out.lock: damaged: ", state, build()...)
	o.fails("HINT: take the lock from a copy of it; a build without the file writes another one", state, build()...)
	write("out.lock", strings.Replace(lock, "name: own, version: \"1.0\"", "name: own, version: \"2.0\"", 1))
	o.fails("--lock-file: the system has other packages than the lock: own amd64 is 1.0 instead of 2.0", state, build()...)
	write("out.lock", lock)
	write("installs.sh", o.content("installs.sh")+"true\n")
	o.fails("--lock-file: --customize installs.sh is not that of the lock: digest mismatch: want ", state, build()...)
	if text, err := o.try(o.machine(), "--lock-file=gone/out.lock"); err == nil ||
		!strings.Contains(text, `--lock-file: there is no directory gone for "gone/out.lock"`) {
		t.Errorf("%v: got %s", err, text)
	}
}
