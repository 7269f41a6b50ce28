// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lookOut is a program of a build that searches the files that pid 1 has open, and what /proc shows of every process,
// for the caller's file and password. Neither is in its own text.
const lookOut = `for fd in /proc/1/fd/*; do
	for root in $fd $fd/1/root /proc/1/root; do cat "$root$LOOK_FOR"; done
	cat $fd/[0-9]*/environ $fd/[0-9]*/cmdline
done >/etc/seen 2>/dev/null
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >>/etc/seen 2>/dev/null
true`

// TestBuildShowsNothingOfTheCaller checks that programs of a build see neither the caller's files nor passwords.
func TestBuildShowsNothingOfTheCaller(t *testing.T) {
	const inFile, password = "only for the caller", "klartext"
	dir := t.TempDir()
	private := filepath.Join(dir, "private")
	if err := os.WriteFile(private, []byte(inFile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := vmdebootstrap(t, "--tarball=root.tar.gz", "--distribution=trixie", "--debootstrapopts=variant=minbase",
		"--no-kernel",
		"--root-password="+password, "--run="+strings.ReplaceAll(lookOut, "$LOOK_FOR", private))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, files := readTarball(t, filepath.Join(dir, "root.tar.gz"))
	seen, ok := files["etc/seen"]
	if !ok {
		t.Fatal("the program wrote no /etc/seen")
	}
	for _, secret := range []string{inFile, password} {
		if strings.Contains(seen, secret) {
			t.Errorf("a program of the build saw %q", secret)
		}
	}
	if !strings.Contains(seen, "PATH=/usr/local/sbin") { // of its own environment
		t.Errorf("it did not see its own environment: %q", seen)
	}
}
