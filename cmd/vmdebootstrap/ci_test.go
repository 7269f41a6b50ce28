// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestOptionsOfContribCIExist reads the examples for CI systems: each is YAML, and the options in them exist, of a
// build or of boot.
func TestOptionsOfContribCIExist(t *testing.T) {
	root, flags := newRoot(environment{}, io.Discard, io.Discard)
	verb, _, err := root.Find([]string{"boot"})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../contrib/ci/*.y*ml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %q (%v)", files, err)
	}
	option := regexp.MustCompile(`(?:^|[\s"])--([a-z][a-z0-9-]*)`)
	foreign := regexp.MustCompile(`(?m)^.*\b(apt-get|base64|install -m|systemctl)\b.*$`) // lines that call other programs
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewDecoder(strings.NewReader(string(text))); ; {
			var document any
			if err := d.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
		for _, m := range option.FindAllStringSubmatch(foreign.ReplaceAllString(string(text), ""), -1) {
			if flags.Lookup(m[1]) == nil && verb.Flags().Lookup(m[1]) == nil {
				t.Errorf("%s: there is no option --%s", name, m[1])
			}
		}
	}
}

// The checks of the examples can be read; those of contrib/doc/boot.md too.
func TestChecksOfExamplesAreValid(t *testing.T) {
	t.Parallel()
	if _, err := readChecks("../../contrib/ci/checks.yaml"); err != nil {
		t.Error(err)
	}
	_, text, _ := strings.Cut(readFile(t, "../../contrib/doc/boot.md"), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	name := filepath.Join(t.TempDir(), "checks.yaml")
	writeText(t, name, text)
	if checks, err := readChecks(name); err != nil || len(checks.all()) != 8 {
		t.Errorf("%s: got %+v (%v)", name, checks, err)
	}
}

// TestDocumentLinksExist reads the Markdown files: the files that they link to, and those of the project that
// they name, must exist.
func TestDocumentLinksExist(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, pattern := range []string{"*.md", "contrib/*.md", "contrib/*/*.md"} {
		files, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: found %q (%v)", pattern, files, err)
		}
		documents = append(documents, files...)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	named := regexp.MustCompile("`((?:cmd|builder|oci|diskimage|hooks|contrib|\\.ci)/[A-Za-z0-9_./*-]+|" +
		"LICENSE|Makefile|README\\.md|\\.golangci\\.yml)`")
	shortened := regexp.MustCompile("`[A-Za-z0-9_*-]+\\.go`")
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			target, _, _ := strings.Cut(string(m[1]), "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), target)); err != nil {
				t.Errorf("%s links to %s: %v", document, m[1], err)
			}
		}
		for _, m := range named.FindAllSubmatch(text, -1) {
			files, err := filepath.Glob(filepath.Join("../..", string(m[1])))
			if err != nil || len(files) == 0 {
				t.Errorf("%s names %s, which does not exist (%v)", document, m[1], err)
			}
		}
		for _, name := range shortened.FindAll(text, -1) {
			t.Errorf("%s names %s without its directory", document, name)
		}
	}
}
