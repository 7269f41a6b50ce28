// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Issue 12: whatever the content of a file in the store, the verbs work, and clear leaves nothing.
func TestCacheVerbsWorkOnADamagedStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(status int, verb string, want ...string) {
		t.Helper()
		out, err := vmdebootstrap(t, "cache", verb, "--state-dir", dir).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got := 0
		if exit != nil {
			got = exit.ExitCode()
		}
		if got != status {
			t.Errorf("cache %s: status %d, want %d\n%s", verb, got, status, out)
		}
		for _, text := range want {
			if !strings.Contains(string(out), text) {
				t.Errorf("cache %s does not say %q:\n%s", verb, text, out)
			}
		}
	}
	damage := func() {
		t.Helper()
		found := 0
		err := filepath.WalkDir(filepath.Join(dir, "store"), func(name string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(d.Name(), "-images") {
				found++
				return os.WriteFile(filepath.Join(name, "images.json"), []byte("[{"), 0o600)
			}
			return err
		})
		if err != nil || found == 0 {
			t.Fatalf("%d stores found (%v)", found, err)
		}
	}
	run(0, "verify", "0 cached results")
	damage()
	run(1, "verify", "the store of cached results was damaged", "ERROR: the cache was damaged")
	run(0, "verify", "0 cached results")
	damage()
	run(0, "list", "WARNING: the store of cached results was damaged", "0 downloaded packages")
	damage()
	run(0, "clear")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
	run(0, "clear")
}
