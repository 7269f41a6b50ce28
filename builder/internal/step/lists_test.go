// SPDX-License-Identifier: Apache-2.0

package step

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// Issue 14, 6: apt did not find the lists of a mirror whose URL it escapes, and so no package. The judge is the host's
// apt: it installs hello from the lists of debootstrap, without a download of others.
func TestAptFindsDebootstrapsListsOfEachMirror(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	repo.Configure(archivetest.Options{Compressions: []string{""}})
	keyring := repo.KeyringFile()
	release, _ := repo.Get("dists/trixie/InRelease")
	packages, _ := repo.Get("dists/trixie/main/binary-amd64/Packages")
	below, err := url.Parse(repo.URL())
	if err != nil {
		t.Fatal(err)
	}
	// Whatever comes before /dists and /pool leads to the repository.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := max(strings.Index(r.URL.Path, "/dists/"), strings.Index(r.URL.Path, "/pool/"))
		resp, err := repo.Client().Get(below.String() + r.URL.Path[max(i, 0):])
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(proxy.Close)
	for _, path := range []string{
		"/debian", "/my_mirror/debian", "/~joe/debian", "/a%20b/debian", "/a%5fb", "/a%25b", "/x=1&y=$2!/*/debian",
		"/a^b{c}|d", "//debian", "/debian/", "",
	} {
		mirror := proxy.URL + path
		f := newAptTarget(t, mirror, keyring)
		toolbox := targettest.New(t, nil)
		toolbox.On = func([]string, io.Writer) error {
			// What debootstrap does: "${3%/}" and apt_dest.
			base := filepath.Join("/var/lib/apt/lists", strings.ReplaceAll(strings.TrimPrefix(
				strings.TrimSuffix(mirror, "/"), "http://"), "/", "_"))
			for name, data := range map[string][]byte{"InRelease": release, "main_binary-amd64_Packages": packages} {
				if err := os.WriteFile(f.Path(base+"_dists_trixie_"+name), data, 0o644); err != nil {
					return err
				}
			}
			return nil
		}
		s := &Context{Target: f, FreshToolbox: targettest.Always(toolbox), Archives: t.TempDir(), Dir: t.TempDir(),
			Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
		step := Debootstrap{Suite: "trixie", Arch: "amd64", Mirror: secret.NewURL(mirror)}
		if err := step.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if text, err := f.install(AccessOptions{}, false); err != nil {
			entries, _ := filepath.Glob(f.Path("/var/lib/apt/lists/*"))
			t.Errorf("%s: %v\n%s\n%s", mirror, err, text, strings.Join(entries, "\n"))
		}
	}
}

func TestListNames(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://joe:a%3ab@mirror.example:8080/debian/": "mirror.example:8080_debian_",
		"https://[2001:db8::1]:8080/debian/":           "2001:db8::1:8080_debian_",
		"http://mirror.example/a%20b/":                 "mirror.example_a%2520b_",
		"file:/srv/mirror/":                            "_srv_mirror_",
		"file:///srv/my_mirror/":                       "_srv_my%5fmirror_",
	} {
		if got := aptListName(url); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}
