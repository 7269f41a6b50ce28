// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 12, A5: a Version with ../ in it wrote outside of the directory of downloads.
func TestReadIndexRejectsInvalidNames(t *testing.T) {
	t.Parallel()
	const good = "Package: hello\nVersion: 1:2.0~rc1+b-1\nArchitecture: amd64\nFilename: pool/main/h/hello/hello_2.0.deb\nSize: 1\n"
	for field, values := range map[string][]string{
		"Package": {"../x", "a/b", ".hidden", "-option", "a b", "a\tb", "ä", "a\\b", "a:amd64"},
		"Version": {"../../../tmp/x", "1/2", "1:../x", "x:1", ":1", "1:", "1-", "-1", "1-2_3", "1 2", "..",
			"1\x00", "$(id)", "1-/"},
		"Architecture": {"../x", "amd64/..", "a b", "-x", "amd64_x"},
		"Filename": {"/etc/passwd", "../x", "pool/../../x", "pool//x", "pool/./x", ".", "pool/x/", "a\x01b",
			"a\\..\\b"},
		"Size": {"-1"},
	} {
		for _, value := range values {
			var lines []string
			for line := range strings.Lines(good) {
				if strings.HasPrefix(line, field+":") {
					line = field + ": " + value + "\n"
				}
				lines = append(lines, line)
			}
			_, err := ReadIndex(strings.NewReader(strings.Join(lines, "")), "http://mirror.example")
			if err == nil || strings.Contains(err.Error(), "\x00") {
				t.Errorf("%s %q: got %v, want an error that quotes it", field, value, err)
			}
		}
	}
	x, err := ReadIndex(strings.NewReader(strings.Replace(good, "pool/", "./pool/", 1)), "")
	if err != nil || x.Lookup("hello").Filename != "pool/main/h/hello/hello_2.0.deb" {
		t.Errorf("a flat archive's path: got %+v, %v", x, err)
	}
	for _, version := range []string{"1", "0", "2.0-1", "1:1:2-3", "20240101.git~x+dfsg-1~bpo12+1", "r5-1", "1-2-3"} {
		if !validVersion(version) {
			t.Errorf("the version %q is rejected", version)
		}
	}
}

func TestReleaseRejectsInvalidNames(t *testing.T) {
	t.Parallel()
	const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	read := func(suite, codename, path string, size int) error {
		_, err := parseRelease(fmt.Appendf(nil, "Suite: %s\nCodename: %s\nSHA256:\n %s %d %s\n", suite, codename,
			digest, size, path))
		return err
	}
	for _, tt := range []struct {
		suite, codename, path string
		size                  int
		good                  bool
	}{
		{"stable", "trixie", "main/binary-amd64/Packages", 0, true},
		{"oldstable", "buster/updates", "Packages", 1, true},
		{"experimental", "rc-buggy", "./Packages", 1, true},
		{"", "", "Packages", 1, true},
		{"stable", "../trixie", "Packages", 1, false},
		{"stable", "/trixie", "Packages", 1, false},
		{"stable", "trixie:tag", "Packages", 1, false},
		{"a b", "trixie", "Packages", 1, false},
		{"stable", "trixie", "../Packages", 1, false},
		{"stable", "trixie", "/etc/passwd", 1, false},
		{"stable", "trixie", "Packages", -1, false},
	} {
		if err := read(tt.suite, tt.codename, tt.path, tt.size); (err == nil) != tt.good {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
}

// A percent sign in a file name is not an escape.
func TestFetchEscapesFileNames(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	c := newClient(t, repo)
	p := *getPackages(t, c, getRelease(t, c, repo, "trixie")).Lookup("hello")
	data, _ := repo.Get(p.Filename)
	p.Filename = "pool/%2e%2e/hello_1%3a1.0?x#y.deb"
	repo.Replace(p.Filename, data)
	if err := c.Fetch(t.Context(), []*Package{&p}, nil); err != nil {
		t.Error(err)
	}
}
