// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"os"
	"path/filepath"
	"testing"
)

// Issue 14, 11: where root has used podman, /run/containers is closed to others, and every registry failed for them.
func TestCredentialsAreTheCallers(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	if err := os.Mkdir(filepath.Join(base, "1000"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "1000", "auth.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name        string
		caller, uid int
		own         bool // the library gets a directory
		file        bool // with credentials in it
	}{
		{"outside", 1000, 1000, false, false},
		{"in a user namespace", 1000, 0, true, true},
		{"without credentials", 1001, 1001, false, false},
		{"without credentials, in a user namespace", 1001, 0, true, false},
	} {
		temp := t.TempDir()
		dir, err := runtimeDir(base, tt.caller, tt.uid, temp)
		if err != nil || (dir == temp) != tt.own || !tt.own && dir != "" {
			t.Errorf("%s: got %q, %v", tt.name, dir, err)
		}
		if _, err := os.Stat(filepath.Join(temp, "containers", "auth.json")); (err == nil) != tt.file {
			t.Errorf("%s: the file: %v", tt.name, err)
		}
	}
	if os.Getuid() == 0 {
		return // root may look everywhere
	}
	if err := os.Chmod(base, 0); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	if dir, err := runtimeDir(base, 1001, 1001, temp); err != nil || dir != temp {
		t.Errorf("a closed directory: got %q, %v", dir, err)
	}
	if err := os.Chmod(base, 0o700); err != nil {
		t.Fatal(err)
	}
}
