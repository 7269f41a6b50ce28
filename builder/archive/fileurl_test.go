// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestFilesOfURLsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	var status int
	var etag, modified, text string
	var conditional, requests int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		for name, value := range map[string]string{"ETag": etag, "Last-Modified": modified} {
			if value != "" {
				w.Header().Set(name, value)
			}
		}
		if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "" {
			conditional++
			if r.Header.Get("If-None-Match") == etag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	cache, err := NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Cache: cache, Backoff: time.Microsecond}
	const first, second = "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"
	for _, tt := range []struct {
		name, etag, modified, text string
		conditional                bool
		time                       int64
	}{
		{"the first time", `"1"`, first, "one", false, 1700000000},
		{"the same", `"1"`, first, "not sent", true, 1700000000},
		{"another", `"2"`, second, "<html>two", true, 1700000001},
		{"a weak validator", `W/"3"`, second, "three", true, 1700000001},
		{"which is not used", `W/"3"`, second, "four", false, 1700000001},
		{"a time only", "", second, "five", false, 1700000001},
		{"which is not used either", "", second, "six", false, 1700000001},
		{"neither", "", "", "seven", false, 0},
	} {
		etag, modified, text, status, conditional = tt.etag, tt.modified, tt.text, http.StatusOK, 0
		got, err := c.DownloadURL(t.Context(), server.URL+"/x", "")
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		want := strings.Replace(tt.text, "not sent", "one", 1)
		if data, err := os.ReadFile(cache.Path(got.SHA256)); err != nil || string(data) != want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, data, err, want)
		}
		if got.ModTime.Unix() != tt.time || (conditional > 0) != tt.conditional {
			t.Errorf("%s: changed at %d, want %d; %d conditional requests", tt.name, got.ModTime.Unix(), tt.time, conditional)
		}
	}
	if _, err := c.DownloadURL(t.Context(), server.URL+"/x", digestOf([]byte("seven"))); err != nil {
		t.Errorf("the right checksum: %v", err)
	}
	requests = 0
	var mismatch *ChecksumError
	if _, err := c.DownloadURL(t.Context(), server.URL+"/x", digestOf([]byte("six"))); !errors.As(err, &mismatch) ||
		requests != 1 {
		t.Errorf("a wrong checksum: got %v after %d requests", err, requests)
	}
	status = http.StatusNotFound
	if _, err := c.DownloadURL(t.Context(), server.URL+"/x", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	server.Close()
	_, err = c.DownloadURL(t.Context(), server.URL+"/x", "")
	if err == nil || !strings.Contains(err.Error(), server.URL) {
		t.Errorf("no server: %v", err)
	}
}
