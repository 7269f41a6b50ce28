// SPDX-License-Identifier: Apache-2.0

package dpkgdb

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestDatabaseKnowsPackagesAndTheirFiles(t *testing.T) {
	t.Parallel()
	index := targettest.Index(t, map[string]string{
		"bin": "-> usr/bin", "usr/bin/sh": "", "usr/bin/sh.distrib": "", "etc/a.conf": "",
		statusFile: "Package: b\nStatus: install ok installed\nVersion: 2\nArchitecture: amd64\nInstalled-Size: 3\n" +
			"Conffiles:\n /etc/a.conf 0123\n /etc/b.conf 0123 obsolete\n\n" +
			"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: amd64\n\n" +
			"Package: a\nStatus: install ok half-configured\nVersion: 1:1-1\nArchitecture: amd64\n",
		InfoDir + "/a.list": "/.\n/bin/sh\n", InfoDir + "/b:amd64.list": "/.\n/etc/a.conf\n",
		diversionsFile: "/bin/sh\n/bin/sh.distrib\nc\n",
	})
	d, err := Read(index)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Packages) != 2 || d.Packages[0].Name != "a" || d.Packages[1].InstalledSize() != 3*diskimage.KiB {
		t.Errorf("packages %v", d.Packages)
	}
	owners, err := d.Owners()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"usr/bin/sh": "a", "usr/bin/sh.distrib": "a", "etc/a.conf": "b", "bin": ""} {
		if owners[name] != want {
			t.Errorf("%s belongs to %q, want %q", name, owners[name], want)
		}
	}
	if got := slices.Sorted(maps.Keys(d.ConfigFiles())); !slices.Equal(got, []string{"etc/a.conf", "etc/b.conf"}) {
		t.Errorf("configuration files %q", got)
	}
}

func TestSystemWithoutDpkgHasNoPackages(t *testing.T) {
	t.Parallel()
	d, err := Read(targettest.Index(t, map[string]string{"etc/hostname": "x"}))
	if err != nil || len(d.Packages) > 0 {
		t.Errorf("got %v, %v", d, err)
	}
}

// A database of any text is an error, or has names inside of the tree.
func FuzzDatabase(f *testing.F) {
	f.Add("Package: a\nStatus: install ok installed\n", "/../../x\n", "/a\n/../b\n:\n")
	f.Add("Package: a\nStatus: install ok installed\nConffiles:\n /etc/x 1\n /../y 2\n", "", "\n\n\n")
	f.Fuzz(func(t *testing.T, status, list, diversions string) {
		d, err := Read(targettest.Index(t, map[string]string{"d/l": "-> /../..", statusFile: status,
			InfoDir + "/a.list": list,
			diversionsFile:      diversions}))
		if err != nil {
			return
		}
		owners, err := d.Owners()
		if err != nil {
			t.Fatal(err)
		}
		for name := range owners {
			if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") {
				t.Errorf("name %q", name)
			}
		}
		for name := range d.ConfigFiles() {
			if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") {
				t.Errorf("name %q", name)
			}
		}
	})
}
