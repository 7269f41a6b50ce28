// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// Issue 15, 11: a mirror with one suite was refused, because the tools come from another, and an expired suite that
// nobody had asked for ended the build.
func TestToolsComeFromWhereTheyCanBeHad(t *testing.T) {
	t.Parallel()
	old := archivetest.Options{ValidUntil: time.Date(2025, time.January, 8, 0, 0, 0, 0, time.UTC)}
	now := time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)
	type world struct {
		mirror, host, tools *archivetest.Repository
		xfs, hostExpired    bool
	}
	for _, tt := range []struct {
		name  string
		suite string
		make  func() world
		want  string // the suite and where from; "" for an error
		asked string // the suites that the mirror was asked for
	}{
		{"the mirror has them", "trixie", func() world {
			return world{mirror: addTools(archivetest.NewRepository(t, "trixie")), host: addTools(archivetest.NewRepository(t))}
		}, "trixie mirror", "trixie"},
		{"the mirror has one suite that is too old", "buster", func() world {
			return world{mirror: archivetest.NewRepository(t, "buster"), host: addTools(archivetest.NewRepository(t, "trixie"))}
		}, "trixie host", "buster trixie"},
		{"the mirror has few packages", "bookworm", func() world {
			return world{mirror: archivetest.NewRepository(t, "bookworm"),
				host: addTools(archivetest.NewRepository(t, "trixie", "bookworm"))}
		}, "bookworm host", "bookworm"},
		{"a newer suite is better than none", "bookworm", func() world {
			return world{mirror: archivetest.NewRepository(t, "bookworm"),
				host: addTools(archivetest.NewRepository(t, "trixie"))}
		}, "trixie host", "bookworm trixie"},
		{"nobody has them", "buster", func() world {
			return world{mirror: archivetest.NewRepository(t, "buster")}
		}, "", "buster trixie"},
		{"the user knows", "buster", func() world {
			return world{mirror: archivetest.NewRepository(t, "buster"), host: addTools(archivetest.NewRepository(t, "trixie")),
				tools: addTools(archivetest.NewRepository(t, "trixie"))}
		}, "trixie tools", "buster"},
		{"the mirror's newer suite has expired", "trixie", func() world {
			mirror := archivetest.NewRepository(t, "trixie", "forky")
			mirror.Configure(old)
			return world{mirror: mirror, host: addTools(archivetest.NewRepository(t, "forky")), xfs: true, hostExpired: true}
		}, "", "trixie"},
		{"the host takes expired suites", "buster", func() world {
			host := addTools(archivetest.NewRepository(t, "trixie"))
			host.Configure(old)
			return world{mirror: archivetest.NewRepository(t, "buster"), host: host, hostExpired: true}
		}, "trixie host", "buster trixie"},
		{"the host does not", "buster", func() world {
			host := addTools(archivetest.NewRepository(t, "trixie"))
			host.Configure(old)
			return world{mirror: archivetest.NewRepository(t, "buster"), host: host}
		}, "", "buster trixie"},
		{"a file system of a newer release", "trixie", func() world {
			return world{mirror: addTools(archivetest.NewRepository(t, "trixie")),
				host: addTools(archivetest.NewRepository(t, "forky")), xfs: true}
		}, "forky host", "trixie forky"},
	} {
		w := tt.make()
		spec := testSpec(t, func(o *Options) {
			o.Distribution, o.Mirror = tt.suite, secret.NewURL(w.mirror.URL())
			if w.xfs {
				o.Roottype, o.Extlinux, o.MBR = "xfs", false, false
			}
			if w.tools != nil {
				o.ToolsMirror = secret.NewURL(w.tools.URL())
			}
		})
		client := archiveClient(t, w.mirror)
		client.HTTP, client.Now = archive.NewHTTPClient(nil, nil), now
		for _, repo := range []*archivetest.Repository{w.host, w.tools} {
			if repo != nil {
				client.Keyring = append(client.Keyring, repo.Keyring()...)
			}
		}
		if w.host != nil {
			spec.w.HostMirror, spec.w.HostAllowsExpired = secret.NewURL(w.host.URL()), w.hostExpired
		}
		_, src, err := Resolve(t.Context(), spec, client, testLock())
		got := ""
		if err == nil {
			got = src.ToolboxSuite
			from := src.Toolbox.Lookup("debootstrap").Mirror
			for name, repo := range map[string]*archivetest.Repository{"mirror": w.mirror, "host": w.host, "tools": w.tools} {
				if repo != nil && repo.URL() == from {
					got += " " + name
				}
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q (%v)", tt.name, got, tt.want, err)
		}
		var asked []string
		for _, path := range w.mirror.Requests() {
			if parts := strings.Split(path, "/"); parts[len(parts)-1] == "InRelease" {
				asked = append(asked, parts[1])
			}
		}
		if text := strings.Join(slices.Compact(asked), " "); text != tt.asked {
			t.Errorf("%s: the mirror was asked for %q, want %q", tt.name, text, tt.asked)
		}
		if err != nil && tt.asked != "trixie" {
			if failure, ok := errors.AsType[*ToolsError](err); !ok || !slices.Equal(failure.Suites, []string{"trixie"}) {
				t.Errorf("%s: got %v", tt.name, err)
			}
		}
	}
}

// addTools adds the packages of the toolbox, and xfsprogs.
func addTools(repo *archivetest.Repository) *archivetest.Repository {
	for _, name := range append(slices.Clone(toolboxPackages), "xfsprogs") {
		repo.Add(archivetest.Deb{Name: name})
	}
	return repo
}

// A user's keyring need not have Debian's keys, and a mirror without signatures says nothing of the host's.
func TestToolsOfTheHostAreVerifiedByDebiansKeys(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "buster")
	spec := testSpec(t, func(o *Options) { o.Distribution, o.Mirror = "buster", secret.NewURL(repo.URL()) })
	spec.w.HostMirror = secret.NewURL("http://host.example/debian")
	client := archiveClient(t, repo)
	client.UserKeyring, client.NoCheck = true, true
	sources := spec.toolSources(client)
	last := sources[len(sources)-1].client
	if len(sources) != 2 || sources[0].client != client || last.NoCheck || last.UserKeyring ||
		len(last.Keyring) != len(archive.DefaultKeyring())+1 || len(client.Keyring) != 1 {
		t.Errorf("got %+v", sources)
	}
}

// No mirror of Ubuntu has the tools.
func TestToolsOfUbuntuComeFromDebian(t *testing.T) {
	t.Parallel()
	spec := testSpec(t, func(o *Options) { o.Distribution = "noble" })
	sources := spec.toolSources(&archive.Client{Keyring: archive.DefaultKeyring()})
	if last := sources[len(sources)-1]; last.mirror != debianMirror || last.suite != "trixie" || last.target {
		t.Errorf("without a mirror of the host: got %+v", last)
	}
	host := secret.NewURL("http://host.example/debian")
	spec.w.HostMirror = host
	sources = spec.toolSources(&archive.Client{Keyring: archive.DefaultKeyring()})
	if last := sources[len(sources)-1]; last.mirror != host || len(sources) != 2 {
		t.Errorf("with a mirror of the host: got %+v", sources)
	}
}
