// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
)

// Issue 18, 1: a disk of an existing system has a manifest and a bill of materials, from dpkg's database.
func TestAssemblyDescribesTheSystem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	describe := func(files map[string]string) (*Assembly, error) {
		a := newAssembly(t, func(o *Options) {
			o.Boot, o.Manifest = boot.WordNone, filepath.Join(dir, "manifest.json")
			o.SBOMs = []SBOM{{"spdx", filepath.Join(dir, "spdx.json")}}
		})
		a.World.Program = "vmdebootstrap 1.8.0"
		return a, a.Write(t.Context(), memoryTree(t, files))
	}
	read := func() manifest.Manifest {
		f, err := os.Open(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m, err := manifest.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	files := bootable()
	files["opt/own"] = "of nobody"
	a, err := describe(files)
	if err != nil {
		t.Fatal(err)
	}
	m := read()
	if len(m.Packages) != 1 || m.Packages[0].Name != "dpkg" || m.Packages[0].Origin != nil ||
		m.System != (manifest.System{Vendor: "Debian", Version: "13", Codename: "trixie", Architecture: "amd64"}) ||
		!m.Created.Equal(treeTime) || m.Program != a.World.Program {
		t.Errorf("got %+v", m)
	}
	for _, name := range []string{"/opt/own", "/etc/fstab"} { // the latter is of this disk
		if !slices.ContainsFunc(m.Unowned, func(f manifest.File) bool { return f.Name == name }) {
			t.Errorf("%s is not among %+v", name, m.Unowned)
		}
	}
	info, err := os.Stat(a.Options.Image)
	if err != nil || m.Disk == nil || m.Disk.Size != uint64(info.Size()) {
		t.Errorf("got the disk %+v, want one of the size of the image (%v)", m.Disk, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "spdx.json")); err != nil ||
		!strings.Contains(string(data), "pkg:deb/debian/dpkg@1?arch=amd64") {
		t.Errorf("got %s (%v)", data, err)
	}
	if outputs := a.Spec().Outputs(); len(outputs) != 3 {
		t.Errorf("the outputs are %q, want three", outputs)
	}

	files["usr/lib/os-release"] = "NAME=Devuan\nID=devuan\nVERSION_ID=6\nVERSION_CODENAME=excalibur\n"
	if _, err := describe(files); err != nil {
		t.Fatal(err)
	}
	if s := read().System; s.Vendor != "Devuan" || s.Codename != "excalibur" || s.Version != "6" {
		t.Errorf("a release that is not known: got %+v", s)
	}

	files["var/lib/dpkg/status"] = ""
	a, err = describe(files)
	if err == nil || !strings.Contains(err.Error(), "--manifest: dpkg has no packages in the root file system") {
		t.Errorf("without packages: got %v", err)
	}
	if _, err := os.Stat(a.Options.Image); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is an image all the same (%v)", err)
	}
}
