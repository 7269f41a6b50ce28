// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Issue 15, 12: a directory that cannot be written was found at the end of the build.
func TestOutputsThatCannotBeMadeAreRefusedAtOnce(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--image", filepath.Join(dir, "x.img")}, {"--tarball", filepath.Join(dir, "x.tar")},
		{"--squash", filepath.Join(dir, "live")}, {"--export", "oci-archive:" + filepath.Join(dir, "x.tar")},
		{"--tarball", filepath.Join(t.TempDir(), "x.tar"), "--pkglist"},
	} {
		cmd := vmdebootstrap(t, append(args, "--dry-run", "--no-default-configs", "--lock-root-password")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "ERROR: --") ||
			!strings.Contains(string(out), "cannot be made in directory") || !strings.Contains(string(out), dir) {
			t.Errorf("%q: got %v\n%s", args, err, out)
		}
	}
}
