// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const status = `Package: base-files
Status: install ok installed
Maintainer: Santiago Vila <sanvila@debian.org>
Architecture: amd64
Version: 13.8+deb13u1

Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc (2.41-12)
Version: 2.41-12+b1
Homepage: https://www.gnu.org/software/libc/libc.html

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
`

// system is a root file system with a merged /usr, a diverted file, and files of no package.
func system(t testing.TB) diskimage.Tree {
	t.Helper()
	when := time.Unix(1_700_000_000, 0)
	var entries []diskimage.Entry
	for _, name := range []string{"etc", "usr", "usr/bin", "usr/share", "usr/share/doc", "usr/share/doc/libc6", "var",
		"var/lib", "var/lib/dpkg", "var/lib/dpkg/info"} {
		entries = append(entries, diskimage.DirEntry(name, 0o755, when))
	}
	entries = append(entries, diskimage.SymlinkEntry("bin", "usr/bin", when),
		diskimage.SymlinkEntry("etc/link", "nowhere\xff", when))
	for name, text := range map[string]string{
		"var/lib/dpkg/status":                status,
		"var/lib/dpkg/diversions":            "/bin/tool\n/bin/tool.real\nother\n",
		"var/lib/dpkg/info/base-files.list":  "/.\n/etc\n/bin\n/bin/tool\n/etc/os-release\n",
		"var/lib/dpkg/info/libc6:amd64.list": "/.\n/usr/share/doc/libc6/copyright\n",
		"usr/bin/tool":                       "diverted away",
		"usr/bin/tool.real":                  "tool",
		"etc/os-release":                     "NAME=Debian",
		"etc/own\xff":                        "of a hook",
		"usr/share/doc/libc6/copyright":      "GPL",
	} {
		entries = append(entries, diskimage.FileEntry(name, 0o640, []byte(text), when))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(when), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func collected(t testing.TB) Manifest {
	t.Helper()
	m := Manifest{Schema: Schema, Program: "vmdebootstrap 1.8.0", Created: time.Unix(1_700_000_000, 0).UTC(),
		System:   System{Vendor: "Debian", Version: "13", Codename: "trixie", Architecture: "amd64"},
		Archives: []Archive{}, Inputs: []Input{},
		Plan: []Step{{Kind: "clean", Title: "clean up", Data: json.RawMessage(`{}`)}}}
	var err error
	if m.Packages, m.Unowned, err = Collect(t.Context(), system(t)); err != nil {
		t.Fatal(err)
	}
	m.Packages[0].SHA256 = strings.Repeat("a", 64)
	m.Packages[0].Origin = &Origin{Suite: "trixie", URL: "http://mirror.example/debian/pool/b.deb"}
	return m
}

func TestPackagesAreThoseOfDpkg(t *testing.T) {
	t.Parallel()
	m := collected(t)
	if len(m.Packages) != 2 {
		t.Fatalf("got %+v, want base-files and libc6", m.Packages)
	}
	libc := m.Packages[1]
	if libc.Name != "libc6" || libc.Source != "glibc" || libc.SourceVersion != "2.41-12" || libc.Version != "2.41-12+b1" {
		t.Errorf("got %+v", libc)
	}
	// printf GPL | sha256sum
	want := License{"/usr/share/doc/libc6/copyright", "f40cafaca0fa13eb1b4b1dc8534f16a5385ac80253edb57f7bf7360e3693b7cc"}
	if libc.License == nil || *libc.License != want {
		t.Errorf("got the licence %+v, want %+v", libc.License, want)
	}
	if base := m.Packages[0]; base.Source != "base-files" || base.SourceVersion != base.Version || base.License != nil {
		t.Errorf("got %+v", base)
	}
}

func TestUnownedFilesAreThoseOfNoPackage(t *testing.T) {
	t.Parallel()
	var names []string
	for _, f := range collected(t).Unowned {
		names = append(names, f.Name)
	}
	// The link /bin is base-files', and so is tool under the name to which it was diverted.
	want := []string{"/etc/link", `/etc/own\xff`, "/var/lib/dpkg/diversions", "/var/lib/dpkg/status"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestManifestIsReadBack(t *testing.T) {
	t.Parallel()
	var first, second bytes.Buffer
	m := collected(t)
	if err := m.Write(&first); err != nil {
		t.Fatal(err)
	}
	again, err := Read(bytes.NewReader(first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Write(&second); err != nil || first.String() != second.String() {
		t.Errorf("%v: got %s\nwant %s", err, second.String(), first.String())
	}
}

func TestOtherManifestsAreErrors(t *testing.T) {
	t.Parallel()
	_, err := Read(strings.NewReader(`{"schema": 99, "packages": "of another kind"}`))
	if other, ok := errors.AsType[*SchemaError](err); !ok || other.Got != 99 {
		t.Errorf("schema 99: got %v", err)
	}
	for _, text := range []string{"", "{", "{}", "[]", `{"schema": 1, "packages": 7}`, "\x00\x01"} {
		if _, err := Read(strings.NewReader(text)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want one sentence", text, err)
		}
	}
}

// sameDir loads schemas from a directory, whatever their URLs.
type sameDir string

func (dir sameDir) Load(url string) (any, error) {
	name := path.Base(url)
	if name == "jsf-0.82.schema.json" {
		name = "jsf-0.82.schemax.json" // as the library calls it
	}
	f, err := os.Open(filepath.Join(string(dir), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return jsonschema.UnmarshalJSON(f)
}

func schema(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(sameDir(filepath.Dir(file)))
	s, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(document)
}

func TestCycloneDXFollowsItsSchema(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}",
		"github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := schema(t, filepath.Join(strings.TrimSpace(string(out)), "schema", "bom-1.6.schema.json"))
	var text bytes.Buffer
	if err := collected(t).WriteSBOM(&text, CycloneDX); err != nil {
		t.Fatal(err)
	}
	if err := validate(t, s, text.Bytes()); err != nil {
		t.Errorf("%v\n%s", err, text.String())
	}
	// The validator is one.
	if validate(t, s, bytes.Replace(text.Bytes(), []byte("operating-system"), []byte("os"), 1)) == nil {
		t.Error("a wrong type is valid")
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(&text, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	want := "pkg:deb/debian/libc6@2.41-12%2Bb1?arch=amd64&distro=debian-13&upstream=glibc%402.41-12"
	if got := (*bom.Components)[1].PackageURL; got != want {
		t.Errorf("got the URL %s, want %s", got, want)
	}
}

func TestSPDXFollowsItsSchema(t *testing.T) {
	t.Parallel()
	s := schema(t, "testdata/spdx-2.3.schema.json")
	var text bytes.Buffer
	if err := collected(t).WriteSBOM(&text, SPDX); err != nil {
		t.Fatal(err)
	}
	if err := validate(t, s, text.Bytes()); err != nil {
		t.Errorf("%v\n%s", err, text.String())
	}
	if validate(t, s, bytes.Replace(text.Bytes(), []byte("PACKAGE-MANAGER"), []byte("MANAGER"), 1)) == nil {
		t.Error("a wrong category is valid")
	}
	doc, err := spdxjson.Read(&text)
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil || len(doc.Packages) != 3 {
		t.Errorf("got %d packages (%v), want the system and its two", len(doc.Packages), err)
	}
}

func TestBillsAreReproducible(t *testing.T) {
	t.Parallel()
	for _, format := range Formats() {
		var first, second bytes.Buffer
		if err := errors.Join(collected(t).WriteSBOM(&first, format), collected(t).WriteSBOM(&second, format)); err != nil {
			t.Fatal(err)
		}
		if first.String() != second.String() {
			t.Errorf("%s: two bills of one manifest differ", format)
		}
	}
}

func FuzzManifest(f *testing.F) {
	var good bytes.Buffer
	if err := collected(f).Write(&good); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good.String(), "", "{}", `{"schema":1}`, `{"schema":1e9}`, `{"schema":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, format := range Formats() {
			if err := m.WriteSBOM(&bytes.Buffer{}, format); err != nil && m.Created.Year() < 10000 {
				t.Errorf("%s: %v", format, err)
			}
		}
	})
}
