// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Issue 14, 16: the doctor said that builds run with a state directory on NFS, where the first layer could not be
// unpacked. Outside of namespaces an ordinary user's files are like that.
func TestTryOwnersFindsFilesThatCannotBeGivenAway(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root can give files to everybody")
	}
	dir := t.TempDir()
	err := TryOwners(IsolationUserNS, dir)
	var lack *Error
	if !errors.As(err, &lack) || !strings.Contains(lack.Cause, "cannot give files to other owners") ||
		!strings.Contains(lack.Fix, "--state-dir") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// Issue 15: such names are no reason to copy each layer in silence.
func TestOverlaySaysWhichNamesItCannotMount(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a,b": `contains ','`, "a:b": `contains ':'`, `a\b`: `contains '\\'`,
		strings.Repeat(strings.Repeat("n", 200)+"/", 9): "too long for the options of its mount",
	} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		err := TryOverlay(IsolationUserNS, dir)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left over: %v (%v)", left, err)
		}
	}
}
