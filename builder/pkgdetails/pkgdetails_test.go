// SPDX-License-Identifier: Apache-2.0

package pkgdetails

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// odd is a Packages file with what the archive's files may hold and what they never do.
const odd = `Package: base
Priority: required
Version: 1:2.0-1
Architecture: amd64
Pre-Depends: libc6 (>= 2.38), dpkg (>= 1.17.14) | other
Depends: python3:any (>= 3), a|b , virtual [amd64]
Filename: pool/main/b/base.deb
Size: 123
SHA256: 0123
MD5sum: 4567
Description: what Depends: says here is no field
 Package: indented

Package: twice
Version: 1
Architecture: all
Priority: required
Filename: pool/1.deb
Size: 1
SHA256: 11

Package: twice
Version: 2
Architecture: all
Priority: optional
Filename: pool/2.deb
Size: 2
SHA256: 22

package-type: deb
Package: later
Version: 3
Architecture: all
PRIORITY: important
Depends: base,twice (= 2)
Filename: pool/later.deb
SHA256: 33
Size: 3


Package: short
Version: 1
Architecture: all
Filename: pool/short.deb
SHA256: 44
Size: 4
Priority: required

Package: unfinished
Priority: required
Version: 4
`

// TestSameAsDebootstrap compares with what debootstrap's own script prints.
func TestSameAsDebootstrap(t *testing.T) {
	t.Parallel()
	functions := diskimagetest.File(t, "/usr/share/debootstrap/functions")
	file := write(t, odd)
	all := []string{"base", "twice", "later", "short", "unfinished", "indented", "libc6"}
	for _, args := range [][]string{
		{"GETDEPS", file}, {"GETDEPS", file, "base"}, slices.Concat([]string{"GETDEPS", file}, all),
		{"PKGS", "http://m/debian", file, "base"}, slices.Concat([]string{"PKGS", "REAL", file}, all),
		{"FIELD", "Priority:", "http://m", file, "required"}, {"FIELD", "Priority:", "m", file, "required", "important"},
		{"FIELD", "priority:", "m", file, "optional"}, {"FIELD", "Version:", "m", file, "2"},
		{"STANZAS", file, "base", "unfinished"}, slices.Concat([]string{"STANZAS", file}, all), {"STANZAS", file},
	} {
		// The functions define what they print with; a caller of a pipe sorts what perl's hashes leave in any order.
		cmd := exec.Command("sh", "-c", `set -e; . `+functions+`; "$PKGDETAILS" "$@"`, "sh")
		cmd.Args = append(cmd.Args, args...)
		cmd.Env = append(os.Environ(), "DEBOOTSTRAP_CHECKSUM_FIELD=SHA256")
		want, err := cmd.Output()
		if err != nil {
			t.Fatalf("debootstrap %q: %v", args, err)
		}
		var got bytes.Buffer
		if err := Run(args, "SHA256", &got); err != nil {
			t.Errorf("%q: %v", args, err)
		} else if lines(got.String()) != lines(string(want)) || args[0] == "STANZAS" && got.String() != string(want) {
			t.Errorf("%q: got\n%s\nwant\n%s", args, &got, want)
		}
	}
}

// lines sorts the lines of packages that are missing, which perl prints in the order of a hash.
func lines(text string) string {
	all := strings.SplitAfter(text, "\n")
	first := slices.IndexFunc(all, func(line string) bool { return strings.HasSuffix(line, " -\n") })
	if first >= 0 {
		slices.Sort(all[first:])
	}
	return strings.Join(all, "")
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "Packages")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRunPrintsWhereAPackageIs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := Run([]string{"PKGS", "http://m", write(t, odd), "twice", "base", "gone"}, "MD5sum", &out)
	const want = "base 1:2.0-1 amd64 http://m pool/main/b/base.deb 4567 123\ntwice 2 all http://m pool/2.deb  2\ngone -\n"
	if err != nil || out.String() != want {
		t.Errorf("got %q, %v; want %q", &out, err, want)
	}
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"WGET%", "1", "2"}, {"PKGS", "m"}, {"GETDEPS", "/nonexistent"}} {
		if err := Run(args, "SHA256", io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if err := Run([]string{"STANZAS", write(t, ""), "x"}, "SHA256", io.Discard); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	var text strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&text, "Package: p%d\nPriority: optional\nVersion: 1\nArchitecture: amd64\nDepends: p%d\nFilename: x\n"+
			"Size: 1\nSHA256: 00\nDescription: %s\n\n", i, i+1, strings.Repeat("x", 700))
	}
	name := filepath.Join(b.TempDir(), "Packages")
	if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := Run([]string{"GETDEPS", name, "p1", "p2"}, "SHA256", io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
