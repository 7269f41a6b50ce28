// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// testIndex returns an index of the text of a Packages file whose stanzas need no field but "Package: a".
func testIndex(t *testing.T, text string) *Index {
	t.Helper()
	x, err := ReadIndex(strings.NewReader(text), "http://mirror.example.org/debian")
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const smallIndex = `Package: base
Version: 1
Architecture: amd64
Essential: yes
Priority: required
Pre-Depends: libc (>= 2)
Depends: awk

Package: libc
Version: 2.5-1
Architecture: amd64
Priority: optional
Size: 1000
SHA256: ABCDEF

Package: gawk
Version: 1:5.2
Architecture: amd64
Priority: optional
Provides: awk

Package: mawk
Version: 1.3
Architecture: amd64
Priority: required
Provides: awk
Depends: libc

Package: login-tool
Version: 1
Architecture: all
Priority: important
Depends: debconf | debconf-2.0, libc (>= 1), missing-arch [arm64]
Recommends: editor-x, nothing-has-this

Package: debconf
Version: 1.5
Architecture: all
Provides: debconf-2.0

Package: cdebconf
Version: 0.2
Architecture: amd64
Provides: debconf-2.0 (= 2.1)

Package: editor-x
Version: 3
Architecture: amd64
Depends: nothing-else | mawk
`

func names(packages []*Package) string {
	var all []string
	for _, p := range packages {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func TestClosure(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		want []string
		opts ClosureOptions
		got  string
	}{
		{name: "nothing", got: ""},
		{name: "one without dependencies", want: []string{"libc"}, got: "libc"},
		{name: "virtual package by priority", want: []string{"base"}, got: "base libc mawk"},
		{name: "a chosen provider is enough", want: []string{"base", "gawk"}, got: "base gawk libc"},
		{name: "its order does not matter", want: []string{"gawk", "base"}, got: "base gawk libc"},
		{name: "essential", want: []string{"cdebconf"}, opts: ClosureOptions{Essential: true},
			got: "base cdebconf libc mawk"},
		{name: "first alternative", want: []string{"login-tool"}, got: "debconf libc login-tool"},
		{name: "another alternative is there", want: []string{"login-tool", "cdebconf"},
			got: "cdebconf libc login-tool"},
		{name: "recommends that can be had", want: []string{"login-tool"}, opts: ClosureOptions{Recommends: true},
			got: "debconf editor-x libc login-tool mawk"},
		{name: "a wish with a version", want: []string{"debconf-2.0 (>= 2)"}, got: "cdebconf"},
		{name: "a wish by name beats a provider", want: []string{"gawk", "awk", "mawk"}, got: "gawk libc mawk"},
		{name: "several in one", want: []string{"libc, nothing | gawk"}, got: "gawk libc"},
	}
	x := testIndex(t, smallIndex)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			packages, err := x.Closure(tt.want, tt.opts)
			if err != nil || names(packages) != tt.got {
				t.Errorf("got %q, %v, want %q", names(packages), err, tt.got)
			}
		})
	}
}

func TestRecommendsOfInstalledPackagesAreLeftOut(t *testing.T) {
	t.Parallel()
	x := testIndex(t, smallIndex+`
Package: suggests-more
Version: 1
Depends: login-tool
Recommends: gawk
`)
	base, err := x.Closure([]string{"login-tool"}, ClosureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := x.Closure([]string{"suggests-more"}, ClosureOptions{Recommends: true, Installed: base})
	if want := "debconf gawk libc login-tool suggests-more"; err != nil || names(got) != want {
		t.Errorf("got %q, %v, want %q", names(got), err, want)
	}
}

func TestClosureNamesEverythingMissing(t *testing.T) {
	t.Parallel()
	x := testIndex(t, smallIndex+`
Package: broken
Version: 1
Depends: libc (>= 3), gone | gone-too

Package: broken-too
Version: 1
Depends: libc (>= 3)
`)
	_, err := x.Closure([]string{"broken", "broken-too", "debcon", "login"}, ClosureOptions{})
	unresolved, ok := errors.AsType[*UnresolvedError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	want := []Missing{
		{Relation: "debcon", Similar: []string{"debconf", "cdebconf"}},
		{Relation: "gone | gone-too", WantedBy: []string{"broken"}},
		{Relation: "libc (>= 3)", WantedBy: []string{"broken", "broken-too"}, Present: "2.5-1"},
		{Relation: "login", Similar: []string{"login-tool"}},
	}
	if !reflect.DeepEqual(unresolved.Missing, want) {
		t.Errorf("got  %+v\nwant %+v", unresolved.Missing, want)
	}
	for _, part := range []string{`no package "debcon"; similar: debconf, cdebconf`,
		`"libc (>= 3)" (the archive has version 2.5-1), wanted by broken, broken-too`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q:\n%v", part, err)
		}
	}
	if _, err := x.Closure([]string{"not a name!"}, ClosureOptions{}); err == nil {
		t.Error("a wish that is no name passes")
	}
}

func TestMergeTakesTheHighestVersion(t *testing.T) {
	t.Parallel()
	release := testIndex(t, "Package: a\nVersion: 1.9\n\nPackage: b\nVersion: 1\nDepends: a (>= 1.10)\n")
	updates := testIndex(t, "Package: a\nVersion: 1.10\n\nPackage: c\nVersion: 2\n")
	if _, err := release.Closure([]string{"b"}, ClosureOptions{}); err == nil {
		t.Error("b can be had without the updates")
	}
	x, err := Merge(release, updates, release)
	if err != nil {
		t.Fatal(err)
	}
	if got := x.Lookup("a").Version; got != "1.10" || x.Len() != 4 {
		t.Errorf("got version %s of %d packages", got, x.Len())
	}
	packages, err := x.Closure([]string{"b"}, ClosureOptions{})
	if err != nil || names(packages) != "a b" || packages[0].Version != "1.10" {
		t.Errorf("got %v, %v", names(packages), err)
	}
	if x.Lookup("none") != nil {
		t.Error("found a package that is not there")
	}
}

func TestOlderVersionsProvideNothing(t *testing.T) {
	t.Parallel()
	x, err := Merge(
		testIndex(t, "Package: b\nVersion: 2\nProvides: virtual\n\nPackage: a\nVersion: 1\nProvides: virtual, gone\n"),
		// An entry that is not valid counts as little as the others.
		testIndex(t, "Package: a\nVersion: 2\n\nPackage: a\nVersion: 1\nArchitecture: all\nProvides: (\n"))
	if err != nil {
		t.Fatal(err)
	}
	if packages, err := x.Closure([]string{"virtual"}, ClosureOptions{}); err != nil || names(packages) != "b" {
		t.Errorf("got %v, %v, want b", names(packages), err)
	}
	if packages, err := x.Closure([]string{"gone"}, ClosureOptions{}); err == nil {
		t.Errorf("got %v of an older version", names(packages))
	}
}

func TestNamesByPriority(t *testing.T) {
	t.Parallel()
	x := testIndex(t, smallIndex)
	for _, tt := range []struct {
		priorities []string
		want       string
	}{
		{nil, "base"}, {[]string{"required"}, "base mawk"}, {[]string{"required", "important"}, "base login-tool mawk"},
	} {
		if got := strings.Join(x.Names(tt.priorities...), " "); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.priorities, got, tt.want)
		}
	}
}

func TestReadIndexReadsEachField(t *testing.T) {
	t.Parallel()
	x := testIndex(t, `Package: foo
Source: foo-src
Version: 1:2.0-3
Installed-Size: 4711
Maintainer: Somebody <somebody@example.org>
Architecture: amd64
Multi-Arch: same
Provides: foo-api
 (= 1)
Pre-Depends: a
Depends: b, c
Recommends: d
Description: text
Section: libs
Priority: optional
Essential: no
Filename: pool/main/f/foo/foo_2.0-3_amd64.deb
Size: 12345
SHA256: 0123456789ABCDEF
`)
	want := Package{
		Name: "foo", Version: "1:2.0-3", Architecture: "amd64", Priority: "optional", Section: "libs",
		MultiArch:  "same",
		PreDepends: "a", Depends: "b, c", Recommends: "d", Provides: "foo-api\n(= 1)",
		Filename: "pool/main/f/foo/foo_2.0-3_amd64.deb", SHA256: "0123456789abcdef",
		Mirror: "http://mirror.example.org/debian",
		Size:   12345, InstalledSize: 4711,
	}
	got := x.Lookup("foo")
	if *got != want {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
	if got.File() != "foo_1%3a2.0-3_amd64.deb" {
		t.Errorf("apt's name is %q", got.File())
	}
}

// readBlocks reads a Packages file in blocks of a size, with writes of another one.
func readBlocks(text string, block, write int) ([]*Package, error) {
	r := newPackageReader("http://mirror.example")
	r.block = block
	for part := range slices.Chunk([]byte(text), write) {
		if _, err := r.Write(part); err != nil {
			return nil, err
		}
	}
	return r.packages()
}

func TestBlocksOfIndexAreReadAsTheWhole(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "Package: p%02d\nVersion: 1\nDescription: text\n .\n more\n%s", i, strings.Repeat("\n", 1+i%3))
	}
	for _, whole := range []string{
		text.String(), strings.TrimRight(text.String(), "\n"), "", "\n\n", "Package: a\nVersion: 1",
		strings.ReplaceAll(text.String(), "\n", "\r\n"), strings.ReplaceAll(text.String(), "\n\n", "\n \t\n"),
	} {
		want, err := readBlocks(whole, blockSize, blockSize)
		if err != nil || len(want) != strings.Count(whole, "Package:") {
			t.Fatalf("%d packages of %q, %v", len(want), whole, err)
		}
		for size := 1; size < 200; size += 3 {
			if got, err := readBlocks(whole, size, 1+size/7); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("blocks of %d bytes have %d packages, want %d (%v)", size, len(got), len(want), err)
			}
		}
	}
}

func TestErrorOfIndexNamesItsLine(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("Package: a\nVersion: 1\n\n", 50)
	for _, test := range []struct{ text, want string }{
		{good + "wrong\n" + good + "wrong\n", `line 151: "wrong" is not a field of the form "Name: value"`},
		{good + "Package: b\n\n" + good, "line 152: a stanza without Package or Version"},
		{good + "Package: b\nVersion: 1\nSize: x\n\n" + good, `line 153: Size: "x" is not a number`},
		{good + "Package: /\nVersion: 1", `line 152: the stanza before it: Package: "/" is not a valid package name`},
	} {
		for _, block := range []int{1, 100, blockSize} {
			if _, err := readBlocks(test.text, block, 10); err == nil || err.Error() != test.want {
				t.Errorf("blocks of %d bytes: got the error %v, want %s", block, err, test.want)
			}
		}
	}
}

func TestStanzaWithoutEndIsAnError(t *testing.T) {
	t.Parallel()
	r := newPackageReader("")
	endless := bytes.Repeat([]byte("x"), blockSize)
	for range 2 * maxStanza / blockSize {
		if _, err := r.Write(endless); err != nil {
			return
		}
	}
	t.Errorf("accepted a stanza of %d bytes", 2*maxStanza)
}

func TestReadIndexRejectsInvalidStanzas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"Package: a\n", "Version: 1\n", "Package: a\nVersion: 1\nSize: x\n",
		"Package: a\nVersion: 1\nProvides: (\n", "<html>\n"} {
		if _, err := ReadIndex(strings.NewReader(text), ""); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
