// SPDX-License-Identifier: Apache-2.0

// Package archivetest makes small Debian archives for tests: signed Release files, indexes and .deb files, all built in
// Go and served on the loopback interface, like net/http/httptest.
//
//	repo := archivetest.NewRepository(t, "wheezy", "trixie")
//	repo.Add(archivetest.Deb{Name: "hello", Depends: "libc6", Files: []archivetest.File{
//		{Name: "usr/bin/hello", Mode: 0o755, Content: "…"},
//	}})
//	client := archive.Client{Keyring: repo.Keyring(), …}
//	release, err := client.Release(ctx, repo.URL(), "wheezy")
//
// With Forward it is a proxy for another mirror, with suites of its own that have packages of that mirror. A Repository
// records the requests for its files and can inject faults. It has the component main, and those that the sections of
// its packages name. Suites called -backports are not automatic, as in Debian.
package archivetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Repository is an archive on the loopback interface. Its methods may be used by several goroutines at once.
type Repository struct {
	t      testing.TB
	server *httptest.Server
	hosts  []string // the addresses of all servers
	key    *openpgp.Entity

	mu        sync.Mutex
	options   Options
	suites    []*suite
	aliases   map[string]string // name → codename
	pool      map[string][]byte // path → .deb
	dists     map[string][]byte // path → file; nil if out of date
	forward   *httputil.ReverseProxy
	requests  []string
	faults    map[string][]Fault    // part of a URL → faults of its next requests
	always    map[string]Fault      // part of a URL → fault of all other requests
	replaced  map[string][]byte     // path → content that replaces the archive's own
	snapshots map[string][]snapshot // name of an archive → its states, the oldest first
}

type suite struct {
	codename string
	debs     []Deb
	stanzas  map[string]string // component → those of packages that the forward mirror has
	// validUntil is that of this suite alone; the zero time stands for that of Options.
	validUntil time.Time
}

// Options are properties of the archive that tests vary.
type Options struct {
	// Date and ValidUntil are in each Release file; the zero ValidUntil leaves that field out. The zero Date is
	// 2025-01-01.
	Date, ValidUntil time.Time
	// SignedAt is the time of the signatures; the zero time stands for Date.
	SignedAt time.Time
	// Detached signs Release in a file Release.gpg and leaves out InRelease.
	Detached bool
	// NoByHash leaves out the copies of the indexes that are named by their digest.
	NoByHash bool
	// SeparateAll puts packages of the architecture "all" into an index of their own, and only there.
	SeparateAll bool
	// NoAll leaves "all" out of the architectures, as Debian's security archive does: packages of it are in the indexes of
	// the others, and in one of their own that is not to be read.
	NoAll bool
	// Compressions are the suffixes of the Packages files: ".gz", ".xz" and ""; nil stands for ".gz" alone.
	Compressions []string
	// DamagedIndexes breaks the compression of the indexes, whose checksums fit all the same.
	DamagedIndexes bool
}

// NewRepository starts an archive with the given suites, by codename; without any, it has "trixie". Its server
// stops when the test ends.
func NewRepository(t testing.TB, suites ...string) *Repository {
	t.Helper()
	r := &Repository{
		t: t, aliases: map[string]string{}, pool: map[string][]byte{}, faults: map[string][]Fault{},
		always: map[string]Fault{}, replaced: map[string][]byte{}, snapshots: map[string][]snapshot{},
	}
	r.NewKey(time.Date(2010, time.January, 1, 0, 0, 0, 0, time.UTC), 0)
	if len(suites) == 0 {
		suites = []string{"trixie"}
	}
	for _, name := range suites {
		r.suites = append(r.suites, &suite{codename: name, stanzas: map[string]string{}})
	}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	r.hosts = []string{r.server.Listener.Addr().String()}
	t.Cleanup(r.server.Close)
	return r
}

// URL returns the mirror's URL without a trailing slash.
func (r *Repository) URL() string { return r.server.URL + "/debian" }

// OtherMirror starts another server of the same archive and returns its URL. Requests for both are recorded, and the
// part of Inject may begin with the host of one.
func (r *Repository) OtherMirror() string {
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	r.t.Cleanup(server.Close)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts = append(r.hosts, server.Listener.Addr().String())
	return server.URL + "/debian"
}

// isHost reports whether an address is that of one of the servers.
func (r *Repository) isHost(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.hosts, host)
}

// Client returns an HTTP client for this archive; requests to any other address are errors.
func (r *Repository) Client() *http.Client {
	transport := &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 16}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: onlyHosts{transport, r.isHost}}
}

// onlyHosts rejects requests to other hosts.
type onlyHosts struct {
	http.RoundTripper
	isHost func(host string) bool
}

func (o onlyHosts) RoundTrip(req *http.Request) (*http.Response, error) {
	if !o.isHost(req.URL.Host) {
		return nil, fmt.Errorf("archivetest: request for another host: %s", req.URL)
	}
	return o.RoundTripper.RoundTrip(req)
}

// Keyring returns the key that signs the Release files.
func (r *Repository) Keyring() openpgp.EntityList { return openpgp.EntityList{r.key} }

// NewKey makes the key that signs from now on, with the given time of creation. It expires after life, or never if that
// is 0.
func (r *Repository) NewKey(made time.Time, life time.Duration) {
	r.t.Helper()
	key, err := openpgp.NewEntity("archivetest", "", "archivetest@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(life / time.Second),
		Time: func() time.Time { return made },
	})
	if err != nil {
		r.t.Fatalf("archivetest: make key: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.key, r.dists = key, nil
}

// KeyringFile writes the public key into a file, in the binary form that gpgv and apt read, and returns its path.
func (r *Repository) KeyringFile() string {
	r.t.Helper()
	var b bytes.Buffer
	if err := r.key.Serialize(&b); err != nil {
		r.t.Fatalf("archivetest: write key: %v", err)
	}
	name := filepath.Join(r.t.TempDir(), "archivetest.gpg")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		r.t.Fatalf("archivetest: %v", err)
	}
	return name
}

// Configure changes the options of the archive.
func (r *Repository) Configure(options Options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options, r.dists = options, nil
}

// Expire sets the Valid-Until of one suite.
func (r *Repository) Expire(codename string, validUntil time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.suites {
		if s.codename == codename {
			s.validUntil, r.dists = validUntil, nil
		}
	}
}

// Alias adds a second name of a suite, the Suite of its Release file: r.Alias("stable", "trixie").
func (r *Repository) Alias(name, codename string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aliases[name], r.dists = codename, nil
}

// Add puts packages into all suites.
func (r *Repository) Add(debs ...Deb) {
	r.t.Helper()
	r.add("", debs)
}

// AddTo puts packages into one suite.
func (r *Repository) AddTo(codename string, debs ...Deb) {
	r.t.Helper()
	r.add(codename, debs)
}

func (r *Repository) add(codename string, debs []Deb) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dists = nil
	known := false
	for _, d := range debs {
		d = d.withDefaults()
		data, err := d.Bytes()
		if err != nil {
			r.t.Fatalf("archivetest: package %s: %v", d.Name, err)
		}
		r.pool[d.filename()] = data
		for _, s := range r.suites {
			if codename == "" || s.codename == codename {
				known = true
				s.debs = append(s.debs, d)
			}
		}
	}
	if !known && len(debs) > 0 {
		r.t.Fatalf("archivetest: no suite %q", codename)
	}
}

// Import adds packages of the mirror of Forward to a component of a suite, as stanzas of its Packages file, each
// followed by an empty line.
func (r *Repository) Import(codename, component, stanzas string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.suites {
		if s.codename == codename {
			s.stanzas[component] += stanzas
			r.dists = nil
			return
		}
	}
	r.t.Fatalf("archivetest: no suite %q", codename)
}

// Forward forwards requests for files that this archive lacks to another mirror: other suites, imported packages.
func (r *Repository) Forward(mirror string) {
	r.t.Helper()
	u, err := url.Parse(mirror)
	if err != nil {
		r.t.Fatalf("archivetest: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forward = &httputil.ReverseProxy{Rewrite: func(req *httputil.ProxyRequest) {
		req.Out.URL.Path = strings.TrimPrefix(req.In.URL.Path, "/debian")
		req.SetURL(u)
	}}
}

// Requests returns the requested paths below URL in order, with repetitions.
func (r *Repository) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Count returns the number of requests for paths that contain part.
func (r *Repository) Count(part string) int {
	n := 0
	for _, path := range r.Requests() {
		if strings.Contains(path, part) {
			n++
		}
	}
	return n
}

// Get returns a file of the archive by its path below URL, as served without faults; ok is false if there is none.
func (r *Repository) Get(path string) (data []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file(path)
}

// Replace serves data as the file with the given path below URL, in place of any file of the archive.
func (r *Repository) Replace(path string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaced[path] = data
}

func (r *Repository) file(path string) (data []byte, ok bool) {
	if data, ok = r.replaced[path]; ok {
		return data, true
	}
	if data, ok = r.pool[path]; ok {
		return data, true
	}
	if r.dists == nil {
		dists, err := r.makeDists()
		if err != nil {
			r.t.Errorf("archivetest: %v", err)
			return nil, false
		}
		r.dists = dists
	}
	data, ok = r.dists[path]
	return data, ok
}

func (r *Repository) serve(w http.ResponseWriter, req *http.Request) {
	path, ok := strings.CutPrefix(req.URL.Path, "/debian/")
	if !ok {
		r.serveSnapshot(w, req)
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, path)
	data, ok := r.file(path)
	fault := r.nextFault(req.Host + "/debian/" + path)
	date, forward := r.options.date(), r.forward
	r.mu.Unlock()
	switch {
	case fault.serve(w, req, data):
	case !ok && forward != nil:
		forward.ServeHTTP(w, req)
	case !ok:
		http.NotFound(w, req)
	default:
		// Tests replace files without another date.
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
		http.ServeContent(w, req, "", date, bytes.NewReader(data))
	}
}
