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

// TestOptionsOfContribCIExist reads the examples for runners: each is YAML, and what they call has the options.
func TestOptionsOfContribCIExist(t *testing.T) {
	_, flags := newRoot(environment{}, io.Discard, io.Discard)
	files, err := filepath.Glob("../../contrib/ci/*.y*ml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %q (%v)", files, err)
	}
	option := regexp.MustCompile(`(?:^|[\s"])--([a-z][a-z0-9-]*)`)
	foreign := regexp.MustCompile(`(?m)^.*\b(apt-get|base64|install -m)\b.*$`) // lines that call other programs
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
			if flags.Lookup(m[1]) == nil {
				t.Errorf("%s: there is no option --%s", name, m[1])
			}
		}
	}
}
