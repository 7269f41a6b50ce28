// SPDX-License-Identifier: Apache-2.0

package step

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// Issue 18, 2: apt, that of this machine, fetches the lists and a package of a snapshot that has expired since.
func TestAptUsesTheSnapshot(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	day := time.Date(2025, 2, 1, 8, 0, 0, 0, time.UTC)
	for _, version := range []string{"1", "2"} {
		repo.Add(archivetest.Deb{Name: "hello", Version: version})
		repo.Configure(archivetest.Options{Date: day, ValidUntil: day.AddDate(0, 0, 7)})
		repo.Snapshot("debian", day, "trixie")
		day = day.AddDate(0, 0, 5)
	}
	for date, want := range map[string]string{"20250203T000000Z": "hello_1_amd64.deb",
		"20250207T000000Z": "hello_2_amd64.deb"} {
		f := newAptTarget(t, repo.SnapshotURL()+"/archive/debian/"+date, repo.KeyringFile())
		access, err := NewAccess(filepath.Join(t.TempDir(), "access"), AccessOptions{AllowExpired: true, RealDpkg: true})
		if err != nil {
			t.Fatal(err)
		}
		s := &Context{Target: f, Archives: t.TempDir(), Access: access, RealDpkg: true, Out: NewTail(nil),
			Log: slog.New(slog.DiscardHandler)}
		if err := (AptInstall{Update: true, Packages: []string{"hello"}}).Run(t.Context(), s); err != nil {
			t.Errorf("%s: %v\n%s", date, err, s.Out)
		}
		found, err := filepath.Glob(f.Path("/var/cache/apt/archives/*.deb"))
		if err != nil || len(found) != 1 || filepath.Base(found[0]) != want {
			t.Errorf("%s: apt downloaded %q (%v), want %s\n%s", date, found, err, want, s.Out)
		}
	}
}

func TestMirrorsReplaceThoseOfTheBuild(t *testing.T) {
	t.Parallel()
	const main, security = "http://s.example/a%20b/debian/T", "http://s.example/a%20b/debian-security/T"
	list := "deb " + quoteURL(main) + " trixie main\ndeb " + quoteURL(security) + " trixie-security main\n"
	f := targettest.New(t, map[string]string{
		sourcesList:                            list,
		"/etc/apt/sources.list.d/base.sources": "URIs: " + main + "\nSuites: trixie\n",
		"/etc/apt/sources.list.d/own.list":     "deb http://own.example x main\n",
	})
	m := Mirrors{Replacements: []MirrorReplacement{
		{secret.NewURL(main), secret.NewURL("http://m.example/50%25")},
		{secret.NewURL(security), secret.NewURL("http://sec.example/x")}}}
	list = "deb http://m.example/50%2525 trixie main\ndeb http://sec.example/x trixie-security main\n"
	for range 2 { // a second run finds nothing to do
		if err := runMirrors(t, m, f); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			sourcesList:                            list,
			"/etc/apt/sources.list.d/base.sources": "URIs: http://m.example/50%25\nSuites: trixie\n",
			"/etc/apt/sources.list.d/own.list":     "deb http://own.example x main\n",
		} {
			if got := f.Readable(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
	empty := targettest.New(t, map[string]string{"/etc/": ""})
	if err := runMirrors(t, m, empty); err != nil || strings.Contains(empty.Readable(sourcesList), "deb") {
		t.Errorf("without sources: %v", err)
	}
}

func runMirrors(t *testing.T, m Mirrors, f *targettest.Target) error {
	t.Helper()
	return m.Run(t.Context(), &Context{Target: f, Out: NewTail(nil)})
}
