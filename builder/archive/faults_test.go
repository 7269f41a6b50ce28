// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// page is what the network of a hotel sends in place of each file.
const page = "<!DOCTYPE html>\n<html><title>Welcome</title>Please log in.</html>\n"

// Issue 15, 1: a byte every ten seconds held a build for ever, and silence for minutes without a word. Hours pass here
// on the clock of a bubble only.
func TestFaultyMirrorIsGivenUpOrRecovers(t *testing.T) {
	t.Parallel()
	faults := map[string]struct {
		fault archivetest.Fault
		// err is part of the error if each request has the fault; "" if the download succeeds all the same.
		err string
		// most is the longest time that the error may take.
		most time.Duration
		// warned is part of the first warning if the error is transient; "" if there is none.
		warned string
	}{
		"silent": {archivetest.Fault{Silent: true}, "no data for 30s", 3 * time.Minute, "attempt 2 of 4"},
		"stalls": {archivetest.Fault{Stall: true}, " in 30s", 5 * time.Minute, "attempt 2 of 4"},
		"trickles": {archivetest.Fault{Trickle: 7 * time.Second}, "only 4 bytes in 30s",
			3 * time.Minute, "attempt 2 of 4"},
		"slow":          {archivetest.Fault{Trickle: time.Millisecond}, "", 0, ""},
		"hangs up":      {archivetest.Fault{Hangup: true}, "EOF", time.Minute, "attempt 2 of 4"},
		"resets":        {archivetest.Fault{Reset: true}, "EOF", time.Minute, "attempt 2 of 4"},
		"breaks":        {archivetest.Fault{Truncate: true}, "unexpected EOF", time.Minute, "attempt 2 of 4"},
		"cuts":          {archivetest.Fault{Cut: true}, "the file is cut", time.Minute, "attempt 2 of 4"},
		"sends nothing": {archivetest.Fault{Empty: true}, "the file is cut", time.Minute, "attempt 2 of 4"},
		"longer":        {archivetest.Fault{Longer: 100}, "unexpected EOF", time.Minute, "attempt 2 of 4"},
		"login page": {archivetest.Fault{Page: page}, "a web page in place of the file", time.Minute,
			"attempt 2 of 4"},
		"busy": {archivetest.Fault{Status: http.StatusServiceUnavailable, RetryAfter: "70"},
			"503 Service Unavailable", 4 * time.Minute, "attempt 2 of 4 in 1m10s"},
		"busy for hours": {archivetest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "7200"},
			"429 Too Many Requests (it asks to come back in 2h0m0s)", time.Second, ""},
		"busy until a date": {archivetest.Fault{Status: http.StatusServiceUnavailable,
			RetryAfter: "Sat, 01 Jan 2000 00:01:00 GMT"}, "503 Service Unavailable", 3 * time.Minute,
			"attempt 2 of 4 in 1m0s"},
		"forbidden":     {archivetest.Fault{Status: http.StatusForbidden}, "403 Forbidden", 0, ""},
		"redirect loop": {archivetest.Fault{Redirect: "/debian/dists/trixie/InRelease"}, "stopped after 10", 0, ""},
	}
	for name, tt := range faults {
		repo := archivetest.NewRepository(t)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, repo)
				c.HTTP, c.Backoff = repo.PipeClient(t), 0
				var warnings []string
				c.Warn = func(text string) { warnings = append(warnings, text) }
				repo.InjectAlways("InRelease", tt.fault)
				began := time.Now()
				_, err := c.Release(t.Context(), repo.URL(), "trixie")
				took := time.Since(began)
				if tt.err == "" {
					if err != nil {
						t.Errorf("got %v", err)
					}
					return
				}
				download, ok := errors.AsType[*DownloadError](err)
				if !ok || !strings.HasSuffix(download.URL, "/InRelease") || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				if took > tt.most {
					t.Errorf("it took %v, want at most %v", took, tt.most)
				}
				if tt.warned == "" && len(warnings) > 0 {
					t.Errorf("got the warnings %q", warnings)
				}
				if tt.warned != "" && (len(warnings) < attempts-1 || !strings.Contains(warnings[0], tt.warned) ||
					!strings.Contains(warnings[0], "InRelease")) {
					t.Errorf("got the warnings %q, want %q", warnings, tt.warned)
				}
			})
		})
	}
}

func TestFaultsThatEndAreOvercome(t *testing.T) {
	t.Parallel()
	faults := map[string]archivetest.Fault{
		"silent": {Silent: true}, "stalls": {Stall: true}, "hangs up": {Hangup: true}, "breaks": {Truncate: true},
		"cuts": {Cut: true}, "sends nothing": {Empty: true}, "wrong digest": {Corrupt: true},
		"login page": {Page: page}, "trickles": {Trickle: 20 * time.Second},
		"busy": {Status: http.StatusServiceUnavailable, RetryAfter: "60"},
	}
	for name, fault := range faults {
		repo := archivetest.NewRepository(t)
		repo.Add(archivetest.Deb{Name: "hello", Compression: ".none",
			Files: []archivetest.File{{Name: "a", Content: strings.Repeat("0123456789abcdef", 1<<12)}}})
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, repo)
				c.HTTP, c.Backoff = repo.PipeClient(t), 0
				paths := []string{"/InRelease", "by-hash", "pool/"}
				if fault.Corrupt {
					paths = paths[1:] // the signature does not tell a damaged file from a forged one
				}
				for _, part := range paths {
					repo.Inject(part, fault, fault, fault)
				}
				x := getPackages(t, c, getRelease(t, c, repo, "trixie"))
				if err := c.Fetch(t.Context(), []*Package{x.Lookup("hello")}, nil); err != nil {
					t.Error(err)
				}
				for _, part := range paths {
					if n := repo.Count(part); n != attempts {
						t.Errorf("%s: %d requests, want %d", part, n, attempts)
					}
				}
			})
		})
	}
}

// A mirror that breaks every connection, but sends more of the file each time, is no reason to give up.
func TestProgressRestartsTheAttempts(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello", Compression: ".none",
		Files: []archivetest.File{{Name: "a", Content: strings.Repeat("x", 16<<20)}}})
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, repo)
		c.HTTP, c.Backoff = repo.PipeClient(t), 0
		x := getPackages(t, c, getRelease(t, c, repo, "trixie"))
		var warnings []string
		c.Warn = func(text string) { warnings = append(warnings, text) }
		fault := archivetest.Fault{Truncate: true} // half of what is left
		repo.Inject("pool/", slices.Repeat([]archivetest.Fault{fault}, 2*attempts)...)
		if err := c.Fetch(t.Context(), []*Package{x.Lookup("hello")}, nil); err != nil {
			t.Error(err)
		}
		if n := repo.Count("pool/"); n != 2*attempts+1 {
			t.Errorf("%d requests, want %d", n, 2*attempts+1)
		}
		for _, text := range warnings[1:] {
			if !strings.Contains(text, "attempt 2 of 4 in 500ms") {
				t.Errorf("got the warning %q", text)
			}
		}
	})
}

// A mirror that goes on for hours with just enough to be no failure is one all the same.
func TestDownloadHasALimitThatGrowsWithItsSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 20, 8 << 20} {
		repo := archivetest.NewRepository(t)
		repo.Add(archivetest.Deb{Name: "hello", Compression: ".none",
			Files: []archivetest.File{{Name: "a", Content: strings.Repeat("x", size)}}})
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, repo)
			c.HTTP = repo.PipeClient(t)
			p := getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")
			repo.InjectAlways("pool/", archivetest.Fault{Trickle: 7 * time.Second, Portion: 5000})
			most := (10*time.Minute + time.Duration(p.Size/4096)*time.Second).String()
			began := time.Now()
			err := c.Fetch(t.Context(), []*Package{p}, nil)
			if err == nil || !strings.Contains(err.Error(), "it took longer than "+most+", with all attempts") ||
				time.Since(began).Truncate(time.Second).String() != most {
				t.Errorf("%d bytes: got %v after %v, want %s", size, err, time.Since(began), most)
			}
		})
	}
}

// A mirror that is slow has time for a large file.
func TestSlowMirrorHasTimeForLargeFiles(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello", Compression: ".none",
		Files: []archivetest.File{{Name: "a", Content: strings.Repeat("x", 1<<20)}}})
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, repo)
		c.HTTP = repo.PipeClient(t)
		p := getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")
		repo.Inject("pool/", archivetest.Fault{Trickle: time.Second, Portion: 2000})
		if err := c.Fetch(t.Context(), []*Package{p}, nil); err != nil {
			t.Errorf("2000 bytes a second: %v", err)
		}
		if n := repo.Count("pool/"); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestFaultOfOneFileIsNamed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		part  string
		fault archivetest.Fault
		err   string
	}{
		"index by digest is missing":  {"by-hash", archivetest.Fault{Status: http.StatusNotFound}, ""},
		"index is missing":            {"binary-amd64", archivetest.Fault{Status: http.StatusNotFound}, "has no component"},
		"package is announced longer": {"pool/", archivetest.Fault{Longer: 10}, ""},
		"index has a wrong digest":    {"binary-amd64", archivetest.Fault{Corrupt: true}, "SHA256 mismatch"},
		"package is a login page":     {"pool/", archivetest.Fault{Page: page}, "a web page in place of the file"},
		"package is elsewhere": {"pool/", archivetest.Fault{Redirect: "http://login.example.org/?user=x"},
			"request for another host"},
		"package is cut":   {"pool/", archivetest.Fault{Cut: true}, "size mismatch: want"},
		"package is empty": {"pool/", archivetest.Fault{Empty: true}, "size mismatch: want"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := archivetest.NewRepository(t)
			repo.Add(archivetest.Deb{Name: "hello"})
			c := newClient(t, repo)
			repo.InjectAlways(tt.part, tt.fault)
			x, err := c.Packages(t.Context(), getRelease(t, c, repo, "trixie"), "main", "amd64")
			if err == nil {
				err = c.Fetch(t.Context(), []*Package{x.Lookup("hello")}, nil)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// A server whose file ends too early, and signs what it sends, is not to blame the network for.
func TestDamagedIndexIsNamed(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Configure(archivetest.Options{DamagedIndexes: true})
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	_, err := c.Packages(t.Context(), getRelease(t, c, repo, "trixie"), "main", "amd64")
	if err == nil || !strings.Contains(err.Error(), "read main/binary-amd64/Packages.gz: ") {
		t.Errorf("got %v", err)
	}
	if n := repo.Count("binary-amd64"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestRefusedConnectionIsNamed(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	c.HTTP = NewHTTPClient(nil, nil)
	var warnings []string
	c.Warn = func(text string) { warnings = append(warnings, text) }
	_, err := c.Release(t.Context(), "http://"+archivetest.ClosedPort(t)+"/debian", "trixie")
	if err == nil || !strings.Contains(err.Error(), "connection refused") || len(warnings) != attempts-1 {
		t.Errorf("got %v and the warnings %q", err, warnings)
	}
}
