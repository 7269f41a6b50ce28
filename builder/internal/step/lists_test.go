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
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

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
		installFromMirror(t, repo, keyring, proxy.URL+path, true)
	}
}

// Issue 14, 8: a mirror is a directory of the host, which debootstrap and apt find at its place. debootstrap knows no
// copy:, and writes another mirror to sources.list.
func TestAptInstallsFromALocalMirror(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	repo.Configure(archivetest.Options{Compressions: []string{""}})
	keyring := repo.KeyringFile()
	dir := filepath.Join(t.TempDir(), "my_mirror")
	for _, name := range []string{"dists/trixie/InRelease", "dists/trixie/main/binary-amd64/Packages",
		"pool/main/h/hello/hello_1.0_amd64.deb"} {
		data, ok := repo.Get(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, scheme := range []string{"file://", "file:", "copy:", "copy://"} {
		toolbox, f := installFromMirror(t, repo, keyring, scheme+dir+"/", false)
		if want := "deb " + scheme + dir + " trixie main\n"; f.Readable(sourcesList) != want {
			t.Errorf("%s: sources.list is %q, want %q", scheme, f.Readable(sourcesList), want)
		}
		if !strings.HasSuffix(toolbox.Transcript[0], " file://"+dir) {
			t.Errorf("%s: ran %q", scheme, toolbox.Transcript)
		}
		for where, mounts := range map[string][]specs.Mount{
			"debootstrap": toolbox.Mounts[0], "apt": f.Mounts[0],
		} {
			if !slices.ContainsFunc(mounts, func(m specs.Mount) bool {
				return m.Source == dir && m.Destination == dir && slices.Contains(m.Options, "ro")
			}) {
				t.Errorf("%s: %s has no mirror: %v", scheme, where, mounts)
			}
		}
	}
}

// installFromMirror installs hello from the lists that debootstrap would have downloaded from a mirror, with the apt of
// this machine. debootstrap writes sources.list for mirrors of http alone.
func installFromMirror(t *testing.T, repo *archivetest.Repository, keyring, mirror string, writes bool) (
	toolbox *targettest.Target, f *aptTarget) {
	t.Helper()
	release, _ := repo.Get("dists/trixie/InRelease")
	packages, _ := repo.Get("dists/trixie/main/binary-amd64/Packages")
	f, toolbox = newAptTarget(t, mirror, keyring), debootstrapToolbox(t)
	toolbox.On = func(args []string, _ io.Writer) error {
		// What debootstrap does: "${3%/}" and apt_dest.
		_, name, _ := strings.Cut(strings.TrimSuffix(args[len(args)-1], "/"), "://")
		base := filepath.Join(listsDir, strings.ReplaceAll(name, "/", "_"))
		for name, data := range map[string][]byte{"InRelease": release, "main_binary-amd64_Packages": packages} {
			if err := os.WriteFile(f.Path(base+"_dists_trixie_"+name), data, 0o644); err != nil {
				return err
			}
		}
		if !writes {
			return os.WriteFile(f.Path(sourcesList), nil, 0o644)
		}
		return nil
	}
	access, err := NewAccess(filepath.Join(t.TempDir(), "access"),
		AccessOptions{Mirrors: []secret.URL{secret.NewURL(mirror)}})
	if err != nil {
		t.Fatal(err)
	}
	s := &Context{Target: f, Toolbox: toolbox, FreshToolbox: targettest.Always(toolbox),
		Archives: t.TempDir(), Dir: t.TempDir(), Tmp: t.TempDir(),
		Access: access, Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
	step := Debootstrap{Suite: "trixie", Arch: "amd64", Mirror: secret.NewURL(mirror)}
	if err := step.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if text, err := f.install(AccessOptions{Mirrors: []secret.URL{secret.NewURL(mirror)}}, false); err != nil {
		entries, _ := filepath.Glob(f.Path(listsDir + "/*"))
		t.Errorf("%s: %v\n%s\n%s", mirror, err, text, strings.Join(entries, "\n"))
	}
	return toolbox, f
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
