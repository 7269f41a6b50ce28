// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// statuses records the statuses of the responses to requests.
type statuses struct {
	http.RoundTripper
	seen []int
	// drop is a header that the responses lose.
	drop string
}

func (s *statuses) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(req)
	if err == nil {
		s.seen = append(s.seen, resp.StatusCode)
		resp.Header.Del(s.drop)
	}
	return resp, err
}

func TestReleaseIsSentAgainIfItHasChanged(t *testing.T) {
	t.Parallel()
	for _, drop := range []string{"", "ETag", "Last-Modified"} {
		repo := archivetest.NewRepository(t)
		c := newClient(t, repo)
		rec := &statuses{RoundTripper: c.HTTP.Transport, drop: drop}
		c.HTTP.Transport = rec
		get := func(want int) string {
			t.Helper()
			rec.seen = nil
			r := getRelease(t, c, repo, "trixie")
			if !slices.Equal(rec.seen, []int{want}) {
				t.Errorf("without %q: got statuses %v, want %d", drop, rec.seen, want)
			}
			return r.Digest
		}
		first := get(http.StatusOK)
		if got := get(http.StatusNotModified); got != first {
			t.Errorf("without %q: got %s, want %s", drop, got, first)
		}
		repo.Configure(archivetest.Options{Date: day("2025-02-01")})
		changed := get(http.StatusOK)
		if changed == first || get(http.StatusNotModified) != changed {
			t.Errorf("without %q: got %s after a change of %s", drop, changed, first)
		}
		if err := os.WriteFile(c.Cache.Path(changed), []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := get(http.StatusOK); got != changed {
			t.Errorf("without %q: after damage of the cache: got %s, want %s", drop, got, changed)
		}
		name := c.Cache.responseFile(repo.URL() + "/dists/trixie/InRelease")
		if err := os.WriteFile(name, []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
		get(http.StatusOK)
		get(http.StatusNotModified)
	}
}

// A server that has not changed anything is believed, but not trusted more than one that sends the file.
func TestUnchangedReleaseIsVerified(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	repo.Configure(archivetest.Options{Date: day("2025-01-01"), ValidUntil: day("2025-02-01")})
	c.Now = day("2025-01-02")
	getRelease(t, c, repo, "trixie")
	c.Now = day("2025-03-01")
	_, err := c.Release(t.Context(), repo.URL(), "trixie")
	if _, ok := errors.AsType[*ExpiredError](err); !ok {
		t.Errorf("expired: got %v", err)
	}
	c.Now, c.Keyring = day("2025-01-02"), DefaultKeyring()
	_, err = c.Release(t.Context(), repo.URL(), "trixie")
	if _, ok := errors.AsType[*UntrustedError](err); !ok {
		t.Errorf("another keyring: got %v", err)
	}
}

func TestResponsesHaveNoSecretsAndEndWithTheirFiles(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	url := strings.Replace(repo.URL(), "http://", "http://joe:geheim@", 1)
	if _, err := c.Release(t.Context(), url, "trixie"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(c.Cache.responses())
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %v, %v; want one response", entries, err)
	}
	name := filepath.Join(c.Cache.responses(), entries[0].Name())
	text, err := os.ReadFile(name)
	want := c.Cache.responseFile(repo.URL() + "/dists/trixie/InRelease")
	if err != nil || strings.Contains(string(text), "geheim") || name != want {
		t.Errorf("%s has %s (%v)", name, text, err)
	}
	for _, tt := range []struct {
		age  time.Duration
		left int
	}{{time.Hour, 1}, {0, 0}} {
		if _, _, err := c.Cache.Evict(time.Now().Add(time.Minute), tt.age, 1<<40); err != nil {
			t.Fatal(err)
		}
		if entries, _ := os.ReadDir(c.Cache.responses()); len(entries) != tt.left {
			t.Errorf("files older than %v evicted: %d responses are left, want %d", tt.age, len(entries), tt.left)
		}
	}
}
