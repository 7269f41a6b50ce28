// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 14, 8: of several mirrors, only the first was asked.
func TestMirrorsAreAskedInTurn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		part  string // of what fails at the first mirror
		fault archivetest.Fault
	}{
		"nothing":         {"no-such-file", archivetest.Fault{}},
		"everything":      {"", archivetest.Fault{Status: http.StatusForbidden}},
		"suite":           {"InRelease", archivetest.Fault{Page: page}},
		"forged suite":    {"InRelease", archivetest.Fault{Corrupt: true}},
		"index":           {"binary-amd64", archivetest.Fault{Status: http.StatusNotFound}},
		"package":         {"pool/", archivetest.Fault{Status: http.StatusBadGateway}},
		"damaged package": {"pool/", archivetest.Fault{Corrupt: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := archivetest.NewRepository(t)
			repo.Add(archivetest.Deb{Name: "hello"}, archivetest.Deb{Name: "world"})
			c := newClient(t, repo)
			c.Mirrors, c.Parallel = []*Mirrors{NewMirrors(repo.URL()+"/", repo.OtherMirror())}, 1
			host := strings.TrimPrefix(repo.URL(), "http://")
			for _, path := range []string{"dists/trixie/InRelease", "dists/trixie/Release", "dists/trixie/main/binary-amd64",
				"pool/main/h", "pool/main/w"} {
				if tt.part == "" || strings.Contains(path+"/", tt.part) {
					repo.InjectAlways(host+"/"+path, tt.fault)
				}
			}
			r := getRelease(t, c, repo, "trixie")
			if r.Mirror != repo.URL() {
				t.Errorf("the mirror is %s, want the first one", r.Mirror)
			}
			x := getPackages(t, c, r)
			var last Event
			packages := []*Package{x.Lookup("hello"), x.Lookup("world")}
			if err := c.Fetch(t.Context(), packages, func(e Event) { last = e }); err != nil {
				t.Fatal(err)
			}
			if last.Bytes != last.TotalBytes {
				t.Errorf("the last event is %+v", last)
			}
			// What has answered is asked first from then on.
			if n := repo.Count("pool/main/w"); n != 1 {
				t.Errorf("%d requests for the second package, want 1", n)
			}
		})
	}
}

// Issue 18, 2: each archive has mirrors of its own.
func TestArchivesHaveTheirOwnMirrors(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	main, security, third := repo.URL(), repo.OtherMirror(), repo.OtherMirror()
	c := newClient(t, repo)
	c.Mirrors = []*Mirrors{NewMirrors(main, "http://gone.example/debian"), NewMirrors(security, third)}
	for _, host := range []string{main, security} {
		repo.InjectAlways(strings.TrimPrefix(host, "http://"), archivetest.Fault{Status: http.StatusNotFound})
	}
	r, err := c.Release(t.Context(), security, "trixie")
	if err != nil || r.Mirror != security {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := c.Release(t.Context(), main, "trixie"); err == nil || !strings.Contains(err.Error(), "gone.example") {
		t.Errorf("the main archive: %v", err)
	}
}

func TestErrorsOfAllMirrorsAreSaid(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	other := repo.OtherMirror()
	c := newClient(t, repo)
	c.Mirrors = []*Mirrors{NewMirrors(repo.URL(), other)}
	var warnings []string
	c.Warn = func(text string) { warnings = append(warnings, text) }
	repo.InjectAlways(strings.TrimPrefix(repo.URL(), "http://"), archivetest.Fault{Status: http.StatusForbidden})
	repo.InjectAlways(strings.TrimPrefix(other, "http://"), archivetest.Fault{Status: http.StatusUnauthorized})
	_, err := c.Release(t.Context(), repo.URL(), "trixie")
	for _, want := range []string{repo.URL() + "/dists/trixie/InRelease: 403", other + "/dists/trixie/InRelease: 401"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if len(warnings) != 1 || !strings.HasSuffix(warnings[0], ": asking "+other) {
		t.Errorf("got the warnings %q", warnings)
	}
	// Another archive is asked at its own mirror only.
	before := len(repo.Requests())
	if _, err := c.Release(t.Context(), other, "trixie"); err == nil || len(repo.Requests()) != before+1 {
		t.Errorf("got %v after %q", err, repo.Requests()[before:])
	}
}
