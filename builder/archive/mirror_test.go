// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package archive

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// hostMirror returns the mirror to test with: that of this machine.
func hostMirror(t testing.TB) string {
	mirror, ok := HostMirror(os.DirFS("/"))
	if !ok {
		t.Fatal("this machine's apt sources have no mirror of Debian's archive")
	}
	return mirror
}

func mirrorClient(t testing.TB, cache string) *Client {
	c, err := NewCache(cache)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{HTTP: NewHTTPClient(http.ProxyFromEnvironment, nil), Cache: c, Keyring: DefaultKeyring()}
}

func TestMirrorsReleasesAreTrusted(t *testing.T) {
	t.Parallel()
	c := mirrorClient(t, t.TempDir())
	for _, suite := range []string{
		"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable", "experimental",
		"trixie-updates",
	} {
		r, err := c.Release(t.Context(), hostMirror(t), suite)
		if err != nil {
			t.Error(err)
			continue
		}
		if r.Origin != "Debian" || suite != r.Suite && suite != r.Codename {
			t.Errorf("%s: got origin %q, suite %q, codename %q", suite, r.Origin, r.Suite, r.Codename)
		}
	}
}

// The programs of a container must work that was made from packages without running their scripts.
func TestToolboxOfMirrorsPackagesWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := mirrorClient(t, filepath.Join(dir, "cache"))
	release, err := c.Release(t.Context(), hostMirror(t), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	index, err := c.Packages(t.Context(), release, "main", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(
		"debootstrap gpgv wget debian-archive-keyring ca-certificates xz-utils zstd extlinux syslinux-common mbr")
	packages, err := index.Closure(want, ClosureOptions{Essential: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Fetch(t.Context(), packages, nil); err != nil {
		t.Fatal(err)
	}
	var debs []string
	for _, p := range packages {
		debs = append(debs, c.Cache.Path(p.SHA256))
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	options := debfile.Options{Exclude: debfile.Documentation(), MergedUsr: true, SkipOwners: os.Geteuid() != 0}
	if err := debfile.Unpack(t.Context(), debs, root, options); err != nil {
		t.Fatal(err)
	}
	if err := debfile.Configure(root); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"debootstrap --version", "wget --version", "gpgv --version", "perl -e 1", "awk 1", "which sh", "zstd --version",
		"xz --version", "extlinux --version",
	} {
		cmd := exec.Command("/usr/bin/env", append([]string{"-i", "PATH=/usr/sbin:/usr/bin", "unshare", "--user",
			"--map-root-user", "chroot", root}, strings.Fields(command)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
}

// The index of main is the largest. Each build reads it from the cache.
func BenchmarkMirrorPackages(b *testing.B) {
	c := mirrorClient(b, b.TempDir())
	release, err := c.Release(b.Context(), hostMirror(b), "trixie")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Packages(b.Context(), release, "main", "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}
