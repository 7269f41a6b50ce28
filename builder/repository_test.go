// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
)

// pocketArchive is an archive with the pockets of trixie, in which each has a newer hello.
func pocketArchive(t *testing.T) *archivetest.Repository {
	t.Helper()
	repo := archivetest.NewRepository(t, "trixie", "trixie-updates", "trixie-security", "trixie-backports")
	addTools(repo)
	repo.AddTo("trixie", archivetest.Deb{Name: "hello", Version: "1"})
	repo.AddTo("trixie-updates", archivetest.Deb{Name: "hello", Version: "2"})
	repo.AddTo("trixie-security", archivetest.Deb{Name: "hello", Version: "3"})
	repo.AddTo("trixie-backports", archivetest.Deb{Name: "hello", Version: "9"}, archivetest.Deb{Name: "novel"})
	return repo
}

// pocketWorld is a machine whose own sources have the mirror with its pockets.
func pocketWorld(repo *archivetest.Repository) World {
	return World{Stat: os.Stat, Dir: "/", Today: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), HostArch: "amd64",
		HostMirror: secret.NewURL(repo.URL()), HostUpdates: true, HostSecurity: secret.NewURL(repo.URL())}
}

// Issue 19, 6: the default image had no security updates.
func TestPocketsOfTheHostAreUsedIfInDate(t *testing.T) {
	t.Parallel()
	yesterday := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		change  func(*Options, *archivetest.Repository)
		hello   string // the version that is installed
		suites  string
		leftOut string
	}{
		"in date": {hello: "3", suites: "trixie-updates trixie-security"},
		"a mirror of the user": {change: func(o *Options, r *archivetest.Repository) { o.Mirror = secret.NewURL(r.URL()) },
			hello: "1"},
		"none":  {change: func(o *Options, _ *archivetest.Repository) { o.Pockets = []string{"none"} }, hello: "1"},
		"asked": {change: func(o *Options, _ *archivetest.Repository) { o.Pockets = []string{"updates"} }, hello: "2", suites: "trixie-updates"},
		"backports": {change: func(o *Options, _ *archivetest.Repository) { o.Pockets = []string{"backports"} }, hello: "1",
			suites: "trixie-backports"},
		"expired": {change: func(_ *Options, r *archivetest.Repository) { r.Expire("trixie-security", yesterday) }, hello: "2",
			suites: "trixie-updates", leftOut: "trixie-security: verify "},
		"expired and allowed": {change: func(o *Options, r *archivetest.Repository) {
			r.Expire("trixie-security", yesterday)
			o.AllowExpired = true
		}, hello: "3", suites: "trixie-updates trixie-security"},
		"missing": {change: func(_ *Options, r *archivetest.Repository) {
			r.Inject("trixie-updates/", archivetest.Fault{Status: 404}, archivetest.Fault{Status: 404})
		},
			hello: "3", suites: "trixie-security", leftOut: "trixie-updates: "},
		"forbidden": {change: func(_ *Options, r *archivetest.Repository) {
			r.InjectAlways("trixie-security/", archivetest.Fault{Status: 403})
		}, hello: "2", suites: "trixie-updates", leftOut: "trixie-security: "},
		"damaged": {change: func(_ *Options, r *archivetest.Repository) {
			r.Replace("dists/trixie-security/main/binary-amd64/Packages.gz", []byte("x"))
			r.Inject("trixie-security/main/binary-amd64/by-hash", archivetest.Fault{Status: 404})
		}, hello: "2", suites: "trixie-updates", leftOut: "trixie-security: index "},
		"alias": {change: func(o *Options, r *archivetest.Repository) {
			o.Distribution = "stable"
			r.Alias("stable", "trixie")
		}, hello: "3", suites: "trixie-updates trixie-security"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := pocketArchive(t)
			o := DefaultOptions()
			o.Tarball, o.Distribution, o.Arch = "/tmp/x.tar", "trixie", "amd64"
			if tt.change != nil {
				tt.change(&o, repo)
			}
			spec, err := NewSpec(o, pocketWorld(repo))
			if err != nil {
				t.Fatal(err)
			}
			client := archiveClient(t, repo)
			client.Now, client.AllowExpired = spec.w.Today, spec.o.AllowExpired
			lock, src, err := Resolve(t.Context(), spec, client, testLock())
			if err != nil {
				t.Fatal(err)
			}
			if got := src.Target.Lookup("hello").Version; got != tt.hello {
				t.Errorf("hello %s is installed, want %s", got, tt.hello)
			}
			if got := src.Main.Lookup("hello").Version; got != "1" {
				t.Errorf("debootstrap installs hello %s", got)
			}
			if novel := src.Target.Lookup("novel") != nil; novel != (name == "backports") {
				t.Errorf("novel is there: %t", novel)
			}
			plan, err := NewPlan(spec, lock)
			if err != nil {
				t.Fatal(err)
			}
			var suites, digests []string
			if upgrade, ok := plan.Steps[1].(step.Upgrade); ok {
				for _, s := range upgrade.Suites {
					suites, digests = append(suites, s.Suite), append(digests, s.InRelease)
				}
			}
			if got := strings.Join(suites, " "); got != tt.suites {
				t.Errorf("got the suites %q, want %q", got, tt.suites)
			}
			for i, r := range src.Repositories {
				if r.release.Digest != digests[i] || digests[i] == "" {
					t.Errorf("%s: the step has the digest %q, want %q", r.Suite, digests[i], r.release.Digest)
				}
			}
			if got := errors.Join(src.LeftOut...); (got != nil) != (tt.leftOut != "") ||
				got != nil && !strings.HasPrefix(got.Error(), "without "+tt.leftOut) {
				t.Errorf("left out: %v, want %q", got, tt.leftOut)
			}
			if n := repo.Count("dists/trixie-updates/InRelease"); n > 1 {
				t.Errorf("updates were asked for %d times", n)
			}
		})
	}
}

// What a user asks for is there, or the build ends.
func TestPocketsThatAreAskedForMustBeThere(t *testing.T) {
	t.Parallel()
	for name, expire := range map[string]bool{"expired": true, "missing": false} {
		repo := pocketArchive(t)
		if expire {
			repo.Expire("trixie-security", time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
		} else {
			repo.Inject("trixie-security/", slices.Repeat([]archivetest.Fault{{Status: 404}}, 2)...)
		}
		spec := testSpec(t, func(o *Options) {
			o.Mirror, o.SecurityMirror = secret.NewURL(repo.URL()), secret.NewURL(repo.URL())
			o.Pockets, o.Distribution = []string{"security"}, "trixie"
		})
		client := archiveClient(t, repo)
		client.Now = spec.w.Today
		_, _, err := Resolve(t.Context(), spec, client, testLock())
		if err == nil || !strings.HasPrefix(err.Error(), "--pockets: look up suite trixie-security: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMirrorsOfSecurityUpdates(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Options){
		"http://security.debian.org/debian-security": func(*Options) {},
		"http://s.example/security":                  func(o *Options) { o.SecurityMirror = secret.NewURL("http://s.example/security") },
		"http://build.example/debian":                func(o *Options) { o.Distribution = "noble" },
	} {
		spec := testSpec(t, func(o *Options) {
			o.Pockets = []string{"security"}
			change(o)
		})
		if got := spec.Repositories(spec.Codename())[0].URL.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for codename, want := range map[string]string{"buster": "buster/updates", "bullseye": "bullseye-security"} {
		spec := testSpec(t, func(o *Options) { o.Distribution, o.Pockets = codename, []string{"security"} })
		if got := spec.Repositories(codename)[0].Suite; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// debootstrap knows nothing of pockets: what it asks for must be downloaded in the version of the main suite.
func TestBothVersionsOfTheBaseAreDownloaded(t *testing.T) {
	t.Parallel()
	repo := pocketArchive(t)
	repo.AddTo("trixie", archivetest.Deb{Name: "apt", Version: "1"})
	repo.AddTo("trixie-updates", archivetest.Deb{Name: "apt", Version: "2"})
	spec := testSpec(t, func(o *Options) {
		o.Mirror, o.Pockets, o.Distribution, o.NoKernel, o.NoAcpid = secret.NewURL(repo.URL()), []string{"updates"}, "trixie",
			true, true
		o.Packages, o.SystemdNetworkd = []string{"hello"}, false
	})
	_, src, err := Resolve(t.Context(), spec, archiveClient(t, repo), testLock())
	if err != nil {
		t.Fatal(err)
	}
	base, err := bootstrapPackages(spec, src.Main)
	if err != nil {
		t.Fatal(err)
	}
	all, err := estimate(spec, src.Target)
	if err != nil {
		t.Fatal(err)
	}
	versions := func(packages []*archive.Package) string {
		var found []string
		for _, p := range packages {
			if p.Name == "apt" || p.Name == "hello" {
				found = append(found, p.File())
			}
		}
		return strings.Join(found, " ")
	}
	if got, want := versions(base), "apt_1_amd64.deb"; got != want {
		t.Errorf("debootstrap gets %s, want %s", got, want)
	}
	if got, want := versions(all), "apt_2_amd64.deb hello_2_amd64.deb"; got != want {
		t.Errorf("apt gets %s, want %s", got, want)
	}
}

// Issue 19, 6: a repository beside the mirror is verified with its own key, and with no other.
func TestRepositoriesAreVerifiedWithTheirKeys(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "trixie")
	addTools(repo)
	repo.Add(archivetest.Deb{Name: "hello", Version: "1"})
	other := archivetest.NewRepository(t, "thirdparty")
	other.Add(archivetest.Deb{Name: "hello", Version: "2"}, archivetest.Deb{Name: "product"})
	source := other.URL() + " thirdparty main"
	for name, tt := range map[string]struct {
		source string
		keys   []string
		good   bool
	}{
		"key of all": {source, []string{other.KeyringFile()}, true},
		"key of one": {"deb [signed-by=" + other.KeyringFile() + "] " + source, []string{repo.KeyringFile()}, true},
		"other key":  {source, []string{repo.KeyringFile()}, false},
		"no key":     {source, nil, false},
		"several":    {source, []string{repo.KeyringFile(), other.KeyringFile()}, true},
		"both keys":  {"[signed-by=" + other.KeyringFile() + "," + repo.KeyringFile() + "] " + source, nil, true},
	} {
		repositories, err := ParseRepositories(tt.source)
		if err != nil {
			t.Fatal(err)
		}
		o := DefaultOptions()
		o.Tarball, o.Distribution, o.Arch, o.Mirror = "/tmp/x.tar", "trixie", "amd64", secret.NewURL(repo.URL())
		o.Repositories, o.RepositoryKeys = repositories, tt.keys
		spec, err := NewSpec(o, pocketWorld(repo))
		if err != nil {
			t.Fatal(err)
		}
		client := archiveClient(t, repo)
		client.HTTP = nil // for two archives
		lock := testLock()
		if err := lock.Take(t.Context(), spec, filepath.Join(t.TempDir(), "inputs"), nil); err != nil {
			t.Fatal(err)
		}
		lock, src, err := Resolve(t.Context(), spec, client, lock)
		if !tt.good {
			var wrong *RepositoryError
			var untrusted *archive.UntrustedError
			if !errors.As(err, &wrong) || !errors.As(err, &untrusted) || wrong.Flag != "--repository" {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if src.Target.Lookup("product") == nil {
			t.Errorf("%s: product is missing", name)
		}
		if p := src.Target.Lookup("hello"); p.Version != "2" || p.Mirror != other.URL() {
			t.Errorf("%s: hello is %+v", name, p)
		}
		plan, err := NewPlan(spec, lock)
		if err != nil {
			t.Fatal(err)
		}
		suite := plan.Steps[1].(step.Upgrade).Suites[0]
		if len(suite.KeyDigests) == 0 || slices.Contains(suite.KeyDigests, "") || !suite.Added {
			t.Errorf("%s: the step has %+v", name, suite)
		}
	}
}

// A build with a lock has the pockets of the build that wrote it, and not those that this machine has by now.
func TestPocketsOfALock(t *testing.T) {
	t.Parallel()
	locked := &lockfile.File{Made: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Suites: []lockfile.Suite{
		{Mirror: "http://a.example/debian", Suite: "trixie", Codename: "trixie", Use: []string{lockfile.UseImage}},
		{Mirror: "http://b.example/security", Suite: "trixie-security", Codename: "trixie-security"},
	}}
	o := DefaultOptions()
	o.Tarball, o.Arch = "/tmp/x.tar", "amd64"
	spec, err := NewSpec(o, World{Stat: os.Stat, Dir: "/", HostArch: "amd64", Locked: locked,
		HostMirror: secret.NewURL("http://c.example/debian"), HostUpdates: true,
		HostSecurity: secret.NewURL("http://c.example/security")})
	if err != nil {
		t.Fatal(err)
	}
	all := spec.Repositories("trixie")
	if len(all) != 1 || all[0].Suite != "trixie-security" || all[0].URL.String() != "http://b.example/security" {
		t.Errorf("got %v", all)
	}
}
