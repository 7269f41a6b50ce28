// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// newClient returns a client for a test's archive, with an empty cache.
func newClient(t *testing.T, repo *archivetest.Repository) *Client {
	t.Helper()
	cache, err := NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return &Client{HTTP: repo.Client(), Cache: cache, Keyring: repo.Keyring(), Backoff: time.Nanosecond}
}

func getRelease(t *testing.T, c *Client, repo *archivetest.Repository, suite string) *Release {
	t.Helper()
	r, err := c.Release(t.Context(), repo.URL(), suite)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func getPackages(t *testing.T, c *Client, r *Release) *Index {
	t.Helper()
	x, err := c.Packages(t.Context(), r, "main", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestReleaseHasFieldsOfFile(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "jessie", "trixie")
	repo.Alias("stable", "trixie")
	c := newClient(t, repo)
	r := getRelease(t, c, repo, "stable")
	if r.Mirror != repo.URL() || r.Name != "stable" || r.Suite != "stable" || r.Codename != "trixie" ||
		r.Origin != "Debian" {
		t.Errorf("got %+v", r)
	}
	if want := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC); !r.Date.Equal(want) || !r.ValidUntil.IsZero() {
		t.Errorf("dates are %v and %v", r.Date, r.ValidUntil)
	}
	if strings.Join(r.Architectures, " ") != "all amd64" || strings.Join(r.Components, " ") != "main" {
		t.Errorf("got architectures %v, components %v", r.Architectures, r.Components)
	}
	inRelease, _ := repo.Get("dists/stable/InRelease")
	if want := fmt.Sprintf("%x", sha256.Sum256(inRelease)); r.Digest != want {
		t.Errorf("digest is %s, want %s", r.Digest, want)
	}
	if other := getRelease(t, c, repo, "jessie"); other.Digest == r.Digest || other.Codename != "jessie" {
		t.Errorf("jessie is %+v", other)
	}
}

func TestReleaseReadsDetachedSignature(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Configure(archivetest.Options{Detached: true})
	c := newClient(t, repo)
	getRelease(t, c, repo, "trixie")

	repo.Inject("Release.gpg", archivetest.Fault{Status: http.StatusNotFound})
	_, err := c.Release(t.Context(), repo.URL(), "trixie")
	if _, ok := errors.AsType[*UntrustedError](err); !ok {
		t.Errorf("without a signature: got %v", err)
	}
	repo.Inject("/Release", archivetest.Fault{Corrupt: true})
	_, err = c.Release(t.Context(), repo.URL(), "trixie")
	if untrusted, ok := errors.AsType[*UntrustedError](err); !ok || untrusted.Bad == nil {
		t.Errorf("with a changed file: got %v", err)
	}
}

func TestReleaseRejectsUnknownKey(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	c.Keyring = DefaultKeyring()
	_, err := c.Release(t.Context(), repo.URL(), "trixie")
	untrusted, ok := errors.AsType[*UntrustedError](err)
	if !ok || untrusted.Bad != nil || len(untrusted.KeyIDs) != 1 {
		t.Fatalf("got %v", err)
	}
	key := fmt.Sprintf("%016X", repo.Keyring()[0].PrimaryKey.KeyId)
	if !strings.Contains(err.Error(), key) {
		t.Errorf("got %q, want the key %s in it", err, key)
	}
	c.NoCheck = true
	getRelease(t, c, repo, "trixie")
}

func TestReleaseRejectsChangedFile(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	repo.Inject("InRelease", archivetest.Fault{Corrupt: true})
	if r, err := c.Release(t.Context(), repo.URL(), "trixie"); err == nil {
		t.Errorf("a changed file was accepted as %+v", r)
	}
}

func TestVerifyReturnsOnlySignedText(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	good, _ := repo.Get("dists/trixie/InRelease")
	for _, data := range [][]byte{
		append([]byte("Codename: evil\n\n"), good...),
		append(bytes.Clone(good), "\nCodename: evil\n"...),
	} {
		text, _, err := verifyInline("u", data, repo.Keyring(), true)
		if err == nil && bytes.Contains(text, []byte("evil")) {
			t.Error("text outside of the signature counts")
		}
	}
	if _, _, err := verifyInline("u", bytes.Replace(good, []byte("Origin: Debian"), []byte("Origin: debian"), 1),
		repo.Keyring(), true); err == nil {
		t.Error("a changed letter passes")
	}
	release, _, _ := bytes.Cut(good, []byte("-----BEGIN PGP SIGNATURE"))
	if _, _, err := verifyInline("u", release, repo.Keyring(), true); err == nil {
		t.Error("a file without its signature passes")
	}
}

func TestReleaseExpires(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	end := time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)
	repo.Configure(archivetest.Options{ValidUntil: end})
	c := newClient(t, repo)
	getRelease(t, c, repo, "trixie") // without a clock
	c.Now = end
	getRelease(t, c, repo, "trixie")
	c.Now = end.Add(time.Second)
	_, err := c.Release(t.Context(), repo.URL(), "trixie")
	c.AllowExpired = true
	if _, err := c.Release(t.Context(), repo.URL(), "trixie"); err != nil {
		t.Errorf("with AllowExpired: %v", err)
	}
	c.AllowExpired = false
	if expired, ok := errors.AsType[*ExpiredError](err); !ok || !expired.ValidUntil.Equal(end) ||
		!strings.Contains(err.Error(), "it expired on Sat, 01 Feb 2025 00:00:00 UTC, and today is Sat, 01 Feb 2025 00:00:01 UTC") {
		t.Errorf("got %v", err)
	}
	// Issue 14, 8: SOURCE_DATE_EPOCH counts as today.
	c.Today = end
	getRelease(t, c, repo, "trixie")
	c.Now, c.Today = end, c.Now
	if _, err := c.Release(t.Context(), repo.URL(), "trixie"); err == nil {
		t.Error("a file that has expired on the day of the build is accepted")
	}
	c.NoCheck = true
	getRelease(t, c, repo, "trixie")
}

func TestUnknownNamesAreErrNotExist(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	c := newClient(t, repo)
	_, err := c.Release(t.Context(), repo.URL(), "woody")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/dists/woody/Release") {
		t.Errorf("suite: got %v", err)
	}
	if n := len(repo.Requests()); n != 2 { // InRelease and Release
		t.Errorf("a missing suite took %d requests, want 2", n)
	}
	r := getRelease(t, c, repo, "trixie")
	for _, ask := range [][2]string{{"contrib", "amd64"}, {"main", "vax"}} {
		if _, err := c.Packages(t.Context(), r, ask[0], ask[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: got %v", ask, err)
		}
	}
}

func TestPackagesReadsEachCompression(t *testing.T) {
	t.Parallel()
	for _, options := range []archivetest.Options{
		{}, {NoByHash: true}, {Compressions: []string{".xz"}}, {Compressions: []string{""}},
		{Compressions: []string{".xz", ".gz"}},
		{SeparateAll: true},
		// Issue 19, 6: the index of "all" of Debian's security archive was downloaded for nothing.
		{NoAll: true},
	} {
		t.Run(fmt.Sprintf("%+v", options), func(t *testing.T) {
			t.Parallel()
			repo := archivetest.NewRepository(t)
			repo.Configure(options)
			repo.Add(archivetest.Deb{Name: "hello", Depends: "libc6"},
				archivetest.Deb{Name: "doc", Architecture: "all"},
				archivetest.Deb{Name: "foreign", Architecture: "arm64"})
			c := newClient(t, repo)
			x := getPackages(t, c, getRelease(t, c, repo, "trixie"))
			if x.Len() != 2 || x.Lookup("hello").Depends != "libc6" || x.Lookup("doc").Mirror != repo.URL() {
				t.Errorf("got %d packages", x.Len())
			}
			if byHash := repo.Count("by-hash") > 0; byHash == options.NoByHash {
				t.Errorf("requested by digest: %v", byHash)
			}
			if all := repo.Count("binary-all") > 0; all != options.SeparateAll {
				t.Errorf("requested the index of all: %v", all)
			}
		})
	}
}

func TestTextOfIndexesIsKept(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Configure(archivetest.Options{Compressions: []string{".gz", ""}})
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	r := getRelease(t, c, repo, "trixie")
	text := c.Cache.Path(r.Files["main/binary-amd64/Packages"].SHA256)
	check := func() {
		t.Helper()
		if x := getPackages(t, c, r); x.Lookup("hello") == nil || x.Lookup("other") != nil {
			t.Error("hello is not in the index, or a damaged text was read")
		}
		if data, err := os.ReadFile(text); err != nil || !strings.Contains(string(data), "Package: hello\n") {
			t.Errorf("the cache has %q, %v", data, err)
		}
	}
	check()
	// A damaged text is not used, whatever it has; it is made again.
	for _, damaged := range []string{"Package: other\n", "Package: other\nVersion: 1\n"} {
		if err := os.WriteFile(text, []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		check()
	}
	// The text is enough.
	if err := os.Remove(c.Cache.Path(r.Files["main/binary-amd64/Packages.gz"].SHA256)); err != nil {
		t.Fatal(err)
	}
	check()
	if n := repo.Count("binary-amd64"); n != 1 {
		t.Errorf("%d requests for indexes, want 1", n)
	}

	// What differs from the Release file's digest is not kept, as of a mirror that is wrong about it.
	if err := os.Remove(text); err != nil {
		t.Fatal(err)
	}
	r.Files["main/binary-amd64/Packages"] = File{SHA256: strings.Repeat("0", 64)}
	if x := getPackages(t, c, r); x.Lookup("hello") == nil {
		t.Error("hello is not in the index")
	}
	if _, err := os.Stat(c.Cache.Path(strings.Repeat("0", 64))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a text of another digest was kept: %v", err)
	}
}

func TestSecondRunRequestsOnlyInRelease(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	run := func() {
		x := getPackages(t, c, getRelease(t, c, repo, "trixie"))
		packages, err := x.Closure([]string{"hello"}, ClosureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Fetch(t.Context(), packages, nil); err != nil {
			t.Fatal(err)
		}
	}
	run()
	before := len(repo.Requests())
	run()
	if more := repo.Requests()[before:]; len(more) != 1 || !strings.HasSuffix(more[0], "InRelease") {
		t.Errorf("the second run requested %q", more)
	}
}

func TestFetchRetriesTransientErrors(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789abcdef", 1<<14)
	for name, fault := range map[string]archivetest.Fault{
		"server error": {Status: http.StatusServiceUnavailable},
		"truncated":    {Truncate: true},
		"corrupt":      {Corrupt: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := archivetest.NewRepository(t)
			repo.Add(archivetest.Deb{Name: "hello", Compression: ".none",
				Files: []archivetest.File{{Name: "a", Content: content}}})
			c := newClient(t, repo)
			x := getPackages(t, c, getRelease(t, c, repo, "trixie"))
			repo.Inject("pool/", fault, fault)
			var last Event
			if err := c.Fetch(t.Context(), []*Package{x.Lookup("hello")}, func(e Event) { last = e }); err != nil {
				t.Fatal(err)
			}
			if n := repo.Count("pool/"); n != 3 {
				t.Errorf("got %d requests, want 3", n)
			}
			size := x.Lookup("hello").Size
			if last != (Event{Package: "hello", Bytes: size, TotalBytes: size, Files: 1, TotalFiles: 1}) {
				t.Errorf("the last event is %+v", last)
			}
			if ok, err := c.Cache.Verify(t.Context(), x.Lookup("hello").SHA256); !ok || err != nil {
				t.Errorf("cached: %v, %v", ok, err)
			}
		})
	}
}

func TestFetchErrorHasURLAndCause(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	p := getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")
	for _, tt := range []struct {
		fault    archivetest.Fault
		requests int
		want     string
	}{
		{archivetest.Fault{Status: http.StatusForbidden}, 1, "403 Forbidden"},
		{archivetest.Fault{Status: http.StatusBadGateway}, attempts, "502 Bad Gateway"},
		{archivetest.Fault{Corrupt: true}, attempts, "SHA256 mismatch: want " + p.SHA256},
		{archivetest.Fault{Truncate: true, NoRange: true}, attempts, "unexpected EOF"},
	} {
		before := repo.Count("pool/")
		for range tt.requests {
			repo.Inject("pool/", tt.fault)
		}
		err := c.Fetch(t.Context(), []*Package{p}, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) ||
			!strings.Contains(err.Error(), repo.URL()+"/"+p.Filename) {
			t.Errorf("%+v: got %v, want %q", tt.fault, err, tt.want)
		}
		if n := repo.Count("pool/") - before; n != tt.requests {
			t.Errorf("%+v: %d requests, want %d", tt.fault, n, tt.requests)
		}
	}
	if ok, _ := c.Cache.Verify(t.Context(), p.SHA256); ok {
		t.Error("a bad file came into the cache")
	}
	left, err := os.ReadDir(c.Cache.temp())
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files remain: %v, %v", left, err)
	}
}

func TestFetchReplacesDamagedFile(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"}, archivetest.Deb{Name: "world"})
	c := newClient(t, repo)
	x := getPackages(t, c, getRelease(t, c, repo, "trixie"))
	packages := []*Package{x.Lookup("hello"), x.Lookup("world")}
	if err := c.Fetch(t.Context(), packages, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(c.Cache.Path(packages[0].SHA256), 10); err != nil {
		t.Fatal(err)
	}
	cached := map[string]bool{}
	if err := c.Fetch(t.Context(), packages, func(e Event) { cached[e.Package] = e.Cached }); err != nil {
		t.Fatal(err)
	}
	if cached["hello"] || !cached["world"] {
		t.Errorf("from the cache: %v", cached)
	}
}

// The toolbox and the root file system have packages in common, which are downloaded at the same time.
func TestConcurrentFetchesDownloadAPackageOnce(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	packages := []*Package{getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")}
	before := len(repo.Requests())
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return c.Fetch(t.Context(), packages, nil) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if requests := repo.Requests()[before:]; len(requests) != 1 {
		t.Errorf("requests: %q", requests)
	}
}

func TestFetchStopsWithContext(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	p := getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Fetch(ctx, []*Package{p}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.Backoff = time.Hour
	ctx, cancel = context.WithCancel(t.Context())
	c.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		cancel()
		return nil, &net5xx{}
	})}
	if err := c.Fetch(ctx, []*Package{p}, nil); !errors.Is(err, context.Canceled) &&
		!strings.Contains(fmt.Sprint(err), "down") {
		t.Errorf("during a pause: got %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// net5xx is a net.Error.
type net5xx struct{}

func (*net5xx) Error() string   { return "down" }
func (*net5xx) Timeout() bool   { return true }
func (*net5xx) Temporary() bool { return true }

func TestMirrorMayBeADirectory(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	served := newClient(t, repo)
	r := getRelease(t, served, repo, "trixie")
	p := getPackages(t, served, r).Lookup("hello")
	if err := served.Fetch(t.Context(), []*Package{p}, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, path := range repo.Requests() {
		data, ok := repo.Get(path)
		if !ok {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, repo)
	mirror := "file://" + dir + "/"
	local, err := c.Release(t.Context(), mirror, "trixie")
	if err != nil || local.Digest != r.Digest {
		t.Fatalf("got %+v, %v", local, err)
	}
	if err := c.Fetch(t.Context(), []*Package{getPackages(t, c, local).Lookup("hello")}, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Release(t.Context(), mirror, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing suite: got %v", err)
	}
	if _, err := c.Release(t.Context(), "ftp://mirror.example.org/debian", "trixie"); err == nil ||
		!strings.Contains(err.Error(), `"ftp"`) {
		t.Errorf("other scheme: got %v", err)
	}
}

func TestHTTPClientUsesProxy(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	served, err := url.Parse(repo.URL())
	if err != nil {
		t.Fatal(err)
	}
	// The archive plays the proxy: it receives the whole URL and uses its path.
	c := newClient(t, repo)
	c.HTTP = NewHTTPClient(http.ProxyURL(&url.URL{Scheme: "http", Host: served.Host}), nil)
	defer c.HTTP.CloseIdleConnections()
	if _, err := c.Release(t.Context(), "http://mirror.invalid/debian", "trixie"); err != nil {
		t.Error(err)
	}
}

func TestDownloadResumesWhereItStopped(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello", Compression: ".none",
		Files: []archivetest.File{{Name: "a", Content: strings.Repeat("x", 1<<18)}}})
	c := newClient(t, repo)
	p := getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")
	repo.Inject("pool/", archivetest.Fault{Truncate: true})
	var ranges []string
	inner := c.HTTP.Transport
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		ranges = append(ranges, r.Header.Get("Range"))
		return inner.RoundTrip(r)
	})}
	if err := c.Fetch(t.Context(), []*Package{p}, nil); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("bytes=%d-", p.Size/2); len(ranges) != 2 || ranges[0] != "" || ranges[1] != want {
		t.Errorf("requested the ranges %q, want the second to be %q", ranges, want)
	}
}
