// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFilesNameTheirLicense checks the first lines of the project's programs and settings.
func TestFilesNameTheirLicense(t *testing.T) {
	t.Parallel()
	const line = "SPDX-License-Identifier: Apache-2.0"
	extensions := []string{".go", ".sh", ".lib", ".yml", ".yaml"}
	names := []string{"Makefile", "Containerfile", "go.mod", ".gitignore", "run", "setup", "cache"}
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case !d.Type().IsRegular() || !slices.Contains(extensions, filepath.Ext(path)) && !slices.Contains(names,
			d.Name()):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found++
		if first := strings.SplitN(string(text), "\n", 6); !strings.Contains(strings.Join(first[:min(5, len(first))],
			"\n"), line) {
			t.Errorf("the first lines of %s do not contain %q", path, line)
		}
		return nil
	})
	if err != nil || found < 100 {
		t.Fatalf("checked %d files: %v", found, err)
	}
}
