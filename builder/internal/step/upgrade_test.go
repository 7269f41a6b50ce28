// SPDX-License-Identifier: Apache-2.0

package step

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// Issue 19, 6: apt, that of this machine, takes what it upgrades from lists that it has not fetched.
func TestUpgradeUsesTheListsThatWereVerified(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "trixie", "trixie-security", "trixie-backports")
	hello := archivetest.Deb{Name: "hello", Architecture: "amd64"}
	for suite, version := range map[string]string{"trixie": "1", "trixie-security": "2", "trixie-backports": "3"} {
		hello.Version = version
		repo.AddTo(suite, hello)
	}
	f := newAptTarget(t, repo.URL(), repo.KeyringFile())
	status := "Package: hello\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMaintainer: x\n" +
		"Description: x\n"
	if err := os.WriteFile(f.Path("/var/lib/dpkg/status"), []byte(status), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := archive.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := &archive.Client{HTTP: repo.Client(), Cache: cache, Keyring: repo.Keyring()}
	lists := t.TempDir()
	var u Upgrade
	for i, suite := range []string{"trixie-security", "trixie-backports"} {
		r, err := client.Release(t.Context(), repo.URL(), suite)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Packages(t.Context(), r, "main", "amd64"); err != nil {
			t.Fatal(err)
		}
		if err := client.SaveSuite(t.Context(), r, filepath.Join(lists, string(rune('0'+i))), []string{"main"},
			"amd64"); err != nil {
			t.Fatal(err)
		}
		u.Suites = append(u.Suites, AptSuite{
			AptSource: AptSource{secret.NewURL(repo.URL()), suite, []string{"main"}}, InRelease: r.Digest})
	}
	s := &Context{Target: f, Archives: t.TempDir(), Lists: lists, Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
	before := repo.Count("dists/")
	if err := u.Run(t.Context(), s); err != nil {
		t.Fatalf("%v\n%s", err, s.Out)
	}
	if n := repo.Count("dists/") - before; n != 0 {
		t.Errorf("apt asked the mirror for %d files of suites", n)
	}
	found, err := filepath.Glob(f.Path("/var/cache/apt/archives/*.deb"))
	if err != nil || len(found) != 1 || filepath.Base(found[0]) != "hello_2_amd64.deb" {
		t.Errorf("apt downloaded %q (%v), want hello 2\n%s", found, err, s.Out)
	}
	text, err := f.ReadFile(sourcesList)
	if want := "deb " + repo.URL() + " trixie-security main\ndeb " + repo.URL() + " trixie-backports main\n"; err != nil ||
		!strings.HasSuffix(string(text), " trixie main\n"+want) {
		t.Errorf("sources.list is %q (%v), want %q at its end", text, err, want)
	}
}

// The security archive may be a directory of its own, or need a login of its own.
func TestAccessIsThatOfAllMirrors(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "access")
	access, err := NewAccess(dir, AccessOptions{Mirrors: []secret.URL{secret.NewURL("file:///srv/a"),
		secret.NewURL("copy:///srv/b"), secret.NewURL("http://joe:pw@m.example/debian"),
		secret.NewURL("https://ann:other@s.example/security")}})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := os.ReadFile(filepath.Join(dir, authConf))
	if want := "machine http://m.example login joe password pw\nmachine m.example login joe password pw\n" +
		"machine s.example login ann password other\n"; err != nil || string(auth) != want {
		t.Errorf("auth.conf is %q (%v), want %q", auth, err, want)
	}
	var places []string
	for _, m := range access.Mounts("/target") {
		places = append(places, m.Destination)
	}
	if got, want := strings.Join(places, " "), accessDir+" /target"+accessDir+" /target/srv/a /target/srv/b"; got != want {
		t.Errorf("mounts are %s, want %s", got, want)
	}
	toolbox := targettest.New(t, map[string]string{"/root/": ""})
	toolbox.On = func([]string, io.Writer) error { return nil }
	if err := access.prepareToolbox(toolbox); err != nil {
		t.Fatal(err)
	}
	if text, err := toolbox.ReadFile("/root/.netrc"); err != nil || strings.Count(string(text), "machine ") != 2 {
		t.Errorf("netrc is %q (%v)", text, err)
	}
}

// A repository of the network is in the image with its key, one of this machine is not.
func TestRepositoriesOfTheImage(t *testing.T) {
	t.Parallel()
	const list = "deb http://m.example trixie main\n"
	f := targettest.New(t, map[string]string{"/usr/sbin/": "", sourcesList: list})
	lists, key := t.TempDir(), archivetest.NewRepository(t).KeyringFile()
	for _, dist := range []string{"0/dists/stable", "1/dists/local"} {
		if err := os.MkdirAll(filepath.Join(lists, dist), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lists, dist, "InRelease"), []byte(dist), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &Context{Target: f, Archives: t.TempDir(), Lists: lists, Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
	added := func(uri, suite string) AptSuite {
		return AptSuite{AptSource: AptSource{secret.NewURL(uri), suite, []string{"main", "extra"}}, Added: true,
			Keys: []string{key}, KeyDigests: []string{"aa"}}
	}
	u := Upgrade{Suites: []AptSuite{added("http://r.example/apt", "stable"), added("file:///srv/repo", "local")}}
	if err := u.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"r.example_apt_dists_stable_InRelease": "0/dists/stable", "_srv_repo_dists_local_InRelease": "1/dists/local",
	} {
		if text, err := f.ReadFile(listsDir + "/" + name); err != nil || string(text) != want {
			t.Errorf("%s is %q (%v), want %q", name, text, err, want)
		}
	}
	during, err := f.ReadFile(localSources)
	if want := "deb [trusted=yes] file:///srv/repo local main extra\n"; err != nil || string(during) != want {
		t.Errorf("during the build, apt has %q (%v), want %q", during, err, want)
	}
	if err := (Clean{}).Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFile(localSources); err == nil {
		t.Error("a repository of this machine is in the image")
	}
	keys, err := filepath.Glob(f.Path("/etc/apt/keyrings/*"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("the keys are %q (%v)", keys, err)
	}
	text, err := f.ReadFile(addedSources)
	line := "deb [signed-by=/etc/apt/keyrings/" + filepath.Base(keys[0]) + "] http://r.example/apt stable main extra\n"
	if err != nil || string(text) != line {
		t.Errorf("the image has %q (%v), want %q", text, err, line)
	}
	want, err := os.ReadFile(key)
	if got, readErr := os.ReadFile(keys[0]); err != nil || readErr != nil || string(got) != string(want) {
		t.Errorf("the key has %d bytes (%v), want %d (%v)", len(got), readErr, len(want), err)
	}
	if text, err := f.ReadFile(sourcesList); err != nil || string(text) != list {
		t.Errorf("sources.list is %q (%v)", text, err)
	}
}

// Issue 19, 6: apt finds packages of a further architecture in lists that it has not fetched.
func TestFurtherArchitecturesHaveLists(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello", Architecture: "i386"})
	f := newAptTarget(t, repo.URL(), repo.KeyringFile())
	text, err := f.ReadFile(sourcesList)
	if err != nil {
		t.Fatal(err)
	}
	// debootstrap names no architecture.
	text = []byte(strings.Replace(string(text), "arch=amd64 ", "", 1))
	if err := f.WriteFile(sourcesList, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := archive.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := &archive.Client{HTTP: repo.Client(), Cache: cache, Keyring: repo.Keyring()}
	r, err := client.Release(t.Context(), repo.URL(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Packages(t.Context(), r, "main", "i386"); err != nil {
		t.Fatal(err)
	}
	lists := t.TempDir()
	if err := client.SaveSuite(t.Context(), r, filepath.Join(lists, MainLists), []string{"main"}, "i386"); err != nil {
		t.Fatal(err)
	}
	s := &Context{Target: f, Archives: t.TempDir(), Lists: lists, Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
	a := Architectures{Mirror: secret.NewURL(repo.URL()), Suite: "trixie", Arches: []string{"i386"}}
	if err := a.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Transcript, "\n"); got != "dpkg --add-architecture i386" {
		t.Errorf("ran %s", got)
	}
	install := AptInstall{Packages: []string{"hello:i386"}}
	f.On = withOptions(f.On, "-o", "APT::Architectures::=amd64", "-o", "APT::Architectures::=i386")
	if err := install.Run(t.Context(), s); err != nil {
		t.Errorf("%v\n%s", err, s.Out)
	}
}

// withOptions returns a function for programs that appends options to their arguments.
func withOptions(on func([]string, io.Writer) error, options ...string) func([]string, io.Writer) error {
	return func(args []string, out io.Writer) error { return on(slices.Concat(args, options), out) }
}
