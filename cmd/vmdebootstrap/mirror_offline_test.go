// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"path"
	"strings"
	"testing"

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
	for _, name := range []string{"InRelease", "main/binary-amd64/Packages.gz"} {
		want, _ := o.repo.Get("dists/trixie/" + name)
		if got := files["etc/"+path.Base(name)]; got != string(want) {
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
