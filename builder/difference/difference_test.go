// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// sideOf returns a system of entries and of a dpkg status with lines "NAME VERSION".
func sideOf(t testing.TB, packages string, entries ...diskimage.Entry) Side {
	t.Helper()
	var status strings.Builder
	for line := range strings.Lines(packages) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: amd64\n", name, version)
		if name == "conf" {
			status.WriteString("Conffiles:\n /etc/conf 0123\n")
		}
		status.WriteString("\n")
	}
	entries = append(entries, file("var/lib/dpkg/status", status.String()),
		file("var/lib/dpkg/info/owner.list", "/.\n/usr/bin/owned\n"))
	tree, err := diskimage.Overlay(diskimage.EmptyTree(time.Time{}), entries...)
	if err != nil {
		t.Fatal(err)
	}
	index, err := diskimage.NewIndex(tree)
	if err != nil {
		t.Fatal(err)
	}
	report, err := inspect.New("x", index, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return Side{report, index}
}

func file(name, text string) diskimage.Entry {
	return diskimage.FileEntry(name, 0o644, []byte(text), time.Time{})
}

// zipped returns a text as gzip compresses it.
func zipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The versions of a changelog are those of the source package, and rebuilds have no entry of their own.
func TestChangesAreThoseSinceTheOlderVersion(t *testing.T) {
	t.Parallel()
	changelog := func(text string) diskimage.Entry {
		return file("usr/share/doc/up/changelog.Debian.gz", zipped(t, text))
	}
	text := `up (1.2-3) unstable; urgency=medium

  [ A Developer ]
  * Third.
    more of it

 -- A Developer <a@example.org>  Thu, 01 Jan 2026 00:00:00 +0000

up (1.2-2) unstable; urgency=medium

  * Second.

 -- A Developer <a@example.org>  Thu, 01 Jan 2026 00:00:00 +0000

up (1.2-1) unstable; urgency=medium

  * First.
`
	third := Change{"1.2-3", []string{"[ A Developer ]", "* Third.", "  more of it"}}
	second := Change{"1.2-2", []string{"* Second."}}
	for _, tt := range []struct {
		name, a, b string
		entry      diskimage.Entry
		want       []Change
	}{
		{"upgrade", "1.2-1", "1.2-3+b1", changelog(text), []Change{third, second}},
		{"rebuild", "1.2-3", "1.2-3+b1", changelog(text), nil},
		{"damaged", "1.2-1", "1.2-3", file("usr/share/doc/up/changelog.Debian.gz", "no gzip"), nil},
		{"not there", "1.2-1", "1.2-3", file("other", ""), nil},
	} {
		older, newer := sideOf(t, "up "+tt.a), sideOf(t, "up "+tt.b, tt.entry)
		up, err := Compare(t.Context(), older, newer, nil)
		if err != nil {
			t.Fatal(err)
		}
		down, err := Compare(t.Context(), newer, older, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range [][]Package{up.Packages.Upgraded, down.Packages.Downgraded} {
			if len(got) != 1 || !reflect.DeepEqual(got[0].Changes, tt.want) {
				t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
			}
		}
	}
}

// Issue 18, 4: systems without documentation have the changelogs of the .debs that were installed.
func TestChangesOfASystemWithoutDocumentationComeFromTheCache(t *testing.T) {
	t.Parallel()
	cache, err := archive.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// add adds a package with a changelog, and returns its digest.
	add := func(version, text string) string {
		t.Helper()
		data, err := archivetest.Deb{Name: "up", Version: version, Fields: map[string]string{"Source": "up (1.2-3)"},
			Compression: ".xz", Files: []archivetest.File{{Name: "usr/share/doc/up/changelog.gz", Content: zipped(t, text)}},
		}.Bytes()
		name := filepath.Join(t.TempDir(), "up.deb")
		if err := errors.Join(err, os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		digest, err := cache.Add(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	const older = "\nup (1.2-1) unstable; urgency=low\n\n  * First.\n"
	digest := add("1.2-3+b1", "up (1.2-3) unstable; urgency=low\n\n  * Third.\n"+older)
	add("1.2-2", "up (1.2-2) unstable; urgency=low\n\n  * Second.\n"+older)
	want := []Change{{"1.2-3", []string{"* Third."}}}
	changes := func(a, b Side) []Change {
		t.Helper()
		r, err := Compare(t.Context(), a, b, cache)
		if err != nil {
			t.Fatal(err)
		}
		return append(r.Packages.Upgraded, r.Packages.Downgraded...)[0].Changes
	}
	a, b := sideOf(t, "up 1.2-1"), sideOf(t, "up 1.2-3+b1")
	for _, got := range [][]Change{changes(a, b), changes(b, a)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if got := changes(a, sideOf(t, "up 1.2-9")); got != nil {
		t.Errorf("another version: got %+v", got)
	}
	// The .deb of a manifest is the one with its digest.
	of := func(version, sha256 string) manifest.Manifest {
		return manifest.Manifest{Packages: []manifest.Package{{Name: "up", Version: version, Architecture: "amd64",
			SourceVersion: version, SHA256: sha256}}}
	}
	for sha256, want := range map[string][]Change{digest: want, strings.Repeat("0", 64): nil, "": want} {
		r, err := CompareManifests(t.Context(), "a", "b", of("1.2-1", ""), of("1.2-3+b1", sha256), cache)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Packages.Upgraded[0].Changes; !reflect.DeepEqual(got, want) {
			t.Errorf("digest %q: got %+v, want %+v", sha256, got, want)
		}
	}
	if _, err := cache.Repack(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	if got := changes(a, b); !reflect.DeepEqual(got, want) {
		t.Errorf("with a copy: got %+v, want %+v", got, want)
	}
	// A damaged file is none.
	damaged := []string{digest, cache.Derived(archive.RepackedKind, digest)}
	for _, digest := range damaged {
		f, err := os.OpenFile(cache.Path(digest), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString("x")
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if got := changes(a, b); got != nil {
		t.Errorf("damaged: got %+v", got)
	}
}

func TestPackagesAreComparedInDebiansOrder(t *testing.T) {
	t.Parallel()
	a := sideOf(t, "same 1\nup 1.9\ndown 1:1\ngone 1\ntilde 1~rc1\n")
	b := sideOf(t, "same 1\nup 1.10\ndown 2\nnew 3\ntilde 1\n")
	r, err := Compare(t.Context(), a, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Packages{Added: []Package{{"new", "amd64", "", "3", nil}}, Removed: []Package{{"gone", "amd64", "1", "", nil}},
		Upgraded:   []Package{{"tilde", "amd64", "1~rc1", "1", nil}, {"up", "amd64", "1.9", "1.10", nil}},
		Downgraded: []Package{{"down", "amd64", "1:1", "2", nil}}}
	if !reflect.DeepEqual(r.Packages, want) {
		t.Errorf("got %+v, want %+v", r.Packages, want)
	}
	if got := CompareReports(a.Report, b.Report); !reflect.DeepEqual(got.Packages, want) || got.Same {
		t.Errorf("without files: got %+v, want %+v", got.Packages, want)
	}
}

func TestFilesAreComparedByMetadataAndContent(t *testing.T) {
	t.Parallel()
	const packages = "owner 1\nconf 1\n"
	mode := file("mode", "x")
	mode.Mode |= 0o111
	owner := file("owner", "x")
	owner.GID = 5
	attributes := file("attributes", "x")
	attributes.Xattrs = []diskimage.Xattr{{Name: "user.a", Value: []byte("b")}}
	later := file("later", "x")
	later.ModTime = time.Unix(1, 0)
	long := strings.Repeat("x", 300<<10)
	a := sideOf(t, packages, mode, owner, attributes, file("later", "x"), file("content", long), file("size", "x"),
		file("removed", "x"), file("usr/bin/owned", "old"), file("etc/conf", "old"), file("type", "x"),
		diskimage.SymlinkEntry("target", "one", time.Time{}), file(".hidden", "1"),
		diskimage.Entry{Name: "device", Mode: unix.S_IFCHR | 0o600, Major: 1, Minor: 3})
	b := sideOf(t, packages, file("mode", "x"), file("owner", "x"), file("attributes", "x"), later,
		file("content", long[1:]+"y"), file("size", "xx"), file("usr/bin/owned", "new"), file("etc/conf", "new"),
		diskimage.SymlinkEntry("type", "x", time.Time{}), diskimage.SymlinkEntry("target", "two", time.Time{}),
		file("added", ""), file(".hidden", "2"),
		diskimage.Entry{Name: "device", Mode: unix.S_IFCHR | 0o600, Major: 1, Minor: 5})
	r, err := Compare(t.Context(), a, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range r.Files {
		got[f.Name] = f.Package + ":" + strings.Join(f.Changes, ",")
		if (f.A == nil) != (f.Name == "/added") || (f.B == nil) != (f.Name == "/removed") {
			t.Errorf("got %+v", f)
		}
	}
	want := map[string]string{"/mode": ":mode", "/owner": ":owner", "/attributes": ":attributes", "/content": ":content",
		"/size": ":size", "/removed": ":", "/added": ":", "/usr/bin/owned": "owner:content", "/type": ":type",
		"/target": ":target", "/device": ":device", "/.hidden": ":content"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(r.ConfigFiles) != 1 || r.ConfigFiles[0].Name != "/etc/conf" || r.Same {
		t.Errorf("configuration files %v", r.ConfigFiles)
	}
	if r, err := Compare(t.Context(), a, a, nil); err != nil || !r.Same {
		t.Errorf("a system with itself: %+v, %v", r, err)
	}
}

func TestDisksAreComparedWithoutTheirIdentifiers(t *testing.T) {
	t.Parallel()
	report := func(id string, size uint64, loader string) inspect.Report {
		return inspect.Report{Disk: &inspect.Disk{Table: "gpt", Partitions: []inspect.Partition{
			{Number: 1, Type: "root", ID: id, Size: size, Filesystem: &inspect.Filesystem{Type: "ext4", ID: id, Free: size / 3}},
		}}, System: &inspect.System{Loaders: []inspect.Loader{{Name: loader, Firmware: "bios"}}}}
	}
	if got := facts(report("1", 5, "grub"), report("2", 5, "grub")); len(got) > 0 {
		t.Errorf("other identifiers: %v", got)
	}
	got := facts(report("1", 5, "grub"), report("1", 6, "syslinux"))
	want := []Fact{{"partition 1", "root, 5 bytes at 0, ext4", "root, 6 bytes at 0, ext4"},
		{"boot loaders", "grub", "syslinux"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	unreadable := report("1", 7, "grub")
	unreadable.System = nil
	if got := CompareReports(unreadable, report("1", 7, "grub")); !got.Same {
		t.Errorf("a system that cannot be read: got %+v", got)
	}
}

func TestBriefLeavesOutWhatFollowsFromTheRest(t *testing.T) {
	t.Parallel()
	dir, plain := &Metadata{Type: "directory"}, &Metadata{Type: "file"}
	r := Report{Packages: Packages{Upgraded: []Package{{Name: "up"}}}, Files: []File{
		{Name: "/new", B: dir}, {Name: "/new/a", B: plain}, {Name: "/new/b/c", B: plain}, {Name: "/old", A: plain},
		{Name: "/up", Package: "up", A: plain, B: plain}, {Name: "/usr", A: dir, B: dir}, {Name: "/usr/x", B: plain},
	}}
	got := r.Brief()
	names := ""
	for _, f := range got.Files {
		names += f.Name + " "
	}
	if names != "/new /old /usr /usr/x " || got.Below["/new"] != 2 || len(got.Below) != 1 || got.OfPackages != 1 {
		t.Errorf("got %q, %+v", names, got)
	}
}

func TestAnUnreadableFileIsAnErrorWithItsName(t *testing.T) {
	t.Parallel()
	broken := file("broken", "x")
	broken.Open = func() (diskimage.Content, error) { return nil, errors.New("bad block") }
	_, err := Compare(t.Context(), sideOf(t, "", broken), sideOf(t, "", file("broken", "x")), nil)
	if err == nil || !strings.Contains(err.Error(), "compare /broken: bad block") {
		t.Errorf("got %v", err)
	}
}

func TestManifestsAreCompared(t *testing.T) {
	t.Parallel()
	a := manifest.Manifest{System: manifest.System{Codename: "bookworm"}, Disk: &manifest.Disk{Size: 1},
		Packages: []manifest.Package{{Name: "up", Version: "1", Architecture: "all"}},
		Unowned: []manifest.File{{Name: "/gone", Type: "file"}, {Name: "/changed", Type: "file", SHA256: "1"},
			{Name: "/same", Type: "link", Target: "x"}, {Name: "/type", Type: "file"}}}
	b := manifest.Manifest{System: manifest.System{Codename: "trixie"}, Disk: &manifest.Disk{Size: 2},
		Packages: []manifest.Package{{Name: "up", Version: "2", Architecture: "all"}},
		Unowned: []manifest.File{{Name: "/added", Type: "file"}, {Name: "/changed", Type: "file", SHA256: "2", UID: 5},
			{Name: "/same", Type: "link", Target: "x"}, {Name: "/type", Type: "link"}}}
	compare := func(a, b manifest.Manifest) Report {
		t.Helper()
		r, err := CompareManifests(t.Context(), "a", "b", a, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := compare(a, b)
	var got []string
	for _, f := range r.Files {
		got = append(got, f.Sign()+f.Name+" "+strings.Join(f.Changes, " "))
	}
	if want := []string{"+/added ", "!/changed owner content", "-/gone ", "!/type type"}; !reflect.DeepEqual(got, want) {
		t.Errorf("files: got %q, want %q", got, want)
	}
	if want := []Fact{{"release", "bookworm", "trixie"}, {"disk size", "1", "2"}}; !reflect.DeepEqual(r.Facts, want) {
		t.Errorf("facts: got %v, want %v", r.Facts, want)
	}
	if len(r.Packages.Upgraded) != 1 || r.Same {
		t.Errorf("got %+v", r)
	}
	if same := compare(a, a); !same.Same {
		t.Errorf("a manifest and itself: got %+v", same)
	}
	// An image has no release and disk of a manifest.
	if r := compare(a, manifest.Manifest{}); len(r.Facts) > 0 {
		t.Errorf("facts: got %v", r.Facts)
	}
}
