// SPDX-License-Identifier: Apache-2.0

package wget

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Issue 15, 1: debootstrap's own wget waited 900 seconds for each file of a silent mirror, 20 times.
func TestFilesOfTheBuildAreNotDownloaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real := filepath.Join(dir, "real-wget")
	script := "#!/bin/sh\necho real: \"$@\"\ncase \"$*\" in *missing*) exit 8;; esac\n"
	if err := os.WriteFile(real, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(dir, "mirror/deb.example.org:8080/my%20debian/dists/trixie")
	if err := os.MkdirAll(suite, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(suite, "InRelease"), []byte("signed"), 0o644); err != nil {
		t.Fatal(err)
	}
	const mirror = "http://user:word@deb.example.org:8080//my%20debian/"
	for _, tt := range []struct {
		url    string
		status int
		served bool
		real   string // its arguments after its limits; "" if it is not called
	}{
		{mirror + "dists/trixie/InRelease", 0, true, ""},
		{mirror + "dists/trixie/main/binary-amd64/Packages.xz", statusServer, false, ""},
		{mirror + "dists/forky/InRelease", 0, false, "-nv -O OUT " + mirror + "dists/forky/InRelease"},
		{mirror + "pool/missing.deb", 8, false, "-nv -O OUT " + mirror + "pool/missing.deb"},
		{"http://deb.example.org/my%20debian/dists/trixie/InRelease", 0, false,
			"-nv -O OUT http://deb.example.org/my%20debian/dists/trixie/InRelease"},
		{"http://deb.example.org/../../etc/passwd", 0, false, "-nv -O OUT http://deb.example.org/../../etc/passwd"},
		{"no URL", 0, false, "-nv -O OUT no URL"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		var text bytes.Buffer
		p := Program{Dir: filepath.Join(dir, "mirror"), Real: real, Err: &text}
		if status := p.Run(t.Context(), []string{"-nv", "-O", out, tt.url}); status != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.url, status, tt.status, &text)
		}
		if data, _ := os.ReadFile(out); (string(data) == "signed") != tt.served {
			t.Errorf("%s: got %q", tt.url, data)
		}
		want := ""
		if tt.real != "" {
			want = "real: --timeout=30 --tries=4 " + strings.Replace(tt.real, "OUT", out, 1) + "\n"
		}
		if got := text.String(); strings.HasPrefix(got, "real:") != (want != "") || want != "" && got != want {
			t.Errorf("%s: got %q, want %q", tt.url, got, want)
		}
	}
}

func TestOtherArgumentsAreForTheRealProgram(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--version"}, {"-O"}, {"-O", "x"}} {
		var text bytes.Buffer
		p := Program{Dir: t.TempDir(), Real: "/bin/echo", Err: &text}
		want := strings.Join(append([]string{"--timeout=30", "--tries=4"}, args...), " ") + "\n"
		if status := p.Run(t.Context(), args); status != 0 || text.String() != want {
			t.Errorf("%q: status %d, %q", args, status, &text)
		}
	}
	var text bytes.Buffer
	p := Program{Dir: t.TempDir(), Real: "/no/wget", Err: &text}
	if status := p.Run(t.Context(), nil); status != statusGeneric || !strings.Contains(text.String(), "/no/wget") {
		t.Errorf("without a real one: status %d, %q", status, &text)
	}
}

func TestNamesHaveNoCredentials(t *testing.T) {
	t.Parallel()
	name, err := FileName("https://user:word@deb.example.org/debian/dists/trixie/InRelease")
	if want := "deb.example.org/debian/dists/trixie/InRelease"; err != nil || name != want {
		t.Errorf("got %q, %v, want %q", name, err, want)
	}
}
