// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 15, 1: a mirror that had to be asked again was not mentioned.
func TestRetriesAreSaidOnTheTerminal(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.repo.Inject("InRelease", archivetest.Fault{Page: "<html>log in</html>"},
		archivetest.Fault{Status: http.StatusServiceUnavailable})
	text := o.build(o.machine())
	for _, want := range []string{"/InRelease: a web page in place of the file: ", ": attempt 2 of 4 in 500ms\n",
		"/InRelease: 503 Service Unavailable: attempt 3 of 4 in 1s\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s\nwant %q in it", text, want)
		}
	}
}

// Issue 15, 1: debootstrap asked the mirror itself, by its own wget, for what the build had already.
func TestDebootstrapAsksNoMirror(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.build(o.machine())
	seen := map[string]bool{}
	for _, path := range o.repo.Requests() {
		if seen[path] {
			t.Errorf("the mirror was asked twice for %s", path)
		}
		seen[path] = true
	}
	files := o.files()
	release, _ := o.repo.Get("dists/trixie/InRelease")
	packed, _ := o.repo.Get("dists/trixie/main/binary-amd64/Packages.gz")
	index, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(index)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"InRelease": release, "Packages": text} {
		if got := files["etc/"+name]; got != string(want) {
			t.Errorf("%s: debootstrap got %d bytes, want %d", name, len(got), len(want))
		}
	}
}

// Issue 14, 8: of several mirrors, the first that works serves the build, and sources.list names the first.
func TestMirrorsOfABuildAreAskedInTurn(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	other := o.repo.OtherMirror()
	o.repo.InjectAlways(strings.TrimPrefix(o.repo.URL(), "http://"), archivetest.Fault{Status: http.StatusForbidden})
	text := o.build(o.machine(), "--mirror="+o.repo.URL()+" "+other)
	if want := "/InRelease: 403 Forbidden: asking " + other + "\n"; !strings.Contains(text, want) {
		t.Errorf("got %s\nwant %q in it", text, want)
	}
	files := o.files()
	if got, want := files["etc/apt/sources.list"], "deb "+o.repo.URL()+" trixie main\n"; got != want {
		t.Errorf("sources.list is %q, want %q", got, want)
	}
	if files["etc/InRelease"] == "" {
		t.Error("debootstrap got no InRelease file")
	}
}

// Issue 14, 8: a state of the mirror that was valid at SOURCE_DATE_EPOCH had expired.
func TestEpochOfTheBuildIsTodayForTheMirror(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.repo.Configure(archivetest.Options{ValidUntil: time.Unix(1_750_000_000, 0)})
	state := o.machine()
	for epoch, want := range map[string]string{
		"":           "it expired on ",
		"1750000001": "it expired on Sun, 15 Jun 2025 15:06:40 UTC, and today is Sun, 15 Jun 2025 15:06:41 UTC",
		"1750000000": "",
	} {
		cmd := o.command(state, "--mirror="+o.repo.URL(), "--lock-root-password")
		cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH="+epoch)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(out), want) ||
			err != nil && !strings.Contains(string(out), "SOURCE_DATE_EPOCH") {
			t.Errorf("epoch %q: got %v\n%s\nwant %q in it", epoch, err, out, want)
		}
	}
}

// Issue 19, 6: sources.list has the pockets, each is asked for once, and a new state of one ends the use of what was
// cached.
func TestPocketsOfABuild(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	machine, pockets := o.machine(), []string{"--pockets=security", "--security-mirror=" + o.repo.OtherMirror()}
	security := strings.TrimPrefix(pockets[1], "--security-mirror=")
	text := o.build(machine, pockets...)
	if want := "use trixie-security of " + security + ", which is of 2025-01-01\n"; !strings.Contains(text, want) {
		t.Errorf("got %s\nwant %q in it", text, want)
	}
	if got, want := o.files()["etc/apt/sources.list"], "deb "+o.repo.URL()+" trixie main\ndeb "+security+
		" trixie-security main\n"; got != want {
		t.Errorf("sources.list is %q, want %q", got, want)
	}
	if n := o.repo.Count("trixie-security/InRelease"); n != 1 {
		t.Errorf("the pocket was asked for %d times", n)
	}
	const upgrade = "\nupgrade from trixie-security\n"
	if text := o.build(machine, pockets...); strings.Contains(text, upgrade) {
		t.Errorf("the same state of the pocket is no cached result:\n%s", text)
	}
	o.repo.AddTo("trixie-security", archivetest.Deb{Name: "less", Version: "99"})
	if text := o.build(machine, pockets...); !strings.Contains(text, upgrade) {
		t.Errorf("a new state of the pocket was not seen:\n%s", text)
	}
	if text := o.build(machine); strings.Contains(text, "trixie-security") {
		t.Errorf("a pocket that nobody asked for:\n%s", text)
	}
}
