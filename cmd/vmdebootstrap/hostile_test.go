// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostileHook overwrites every package that the build shares with it, and records their number.
const hostileHook = `#!/bin/sh
set -eu
n=0
for f in "$1"/var/cache/apt/archives/*.deb; do
	printf evil | dd of="$f" conv=notrunc bs=4 count=1 2> /dev/null
	n=$((n+1))
done
echo $n > "$1/count"
`

// Issue 12, A8: a hook rewrote 93 of 146 cached packages through hard links.
func TestAHostileHookDoesNotReachTheCache(t *testing.T) {
	for _, isolation := range []string{"userns", "single"} {
		t.Run(isolation, func(t *testing.T) {
			dir := t.TempDir()
			hook := filepath.Join(dir, "hook.sh")
			if err := os.WriteFile(hook, []byte(hostileHook), 0o755); err != nil {
				t.Fatal(err)
			}
			state := filepath.Join(dir, "state")
			cmd := vmdebootstrap(t, "--debootstrapopts", "variant=minbase", "--no-kernel", "--distribution", "trixie",
				"--lock-root-password", "--tarball", "o.tar", "--isolation", isolation, "--state-dir", state,
				"--customize", hook, "--no-cache")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			count := strings.TrimSpace(tarFiles(t, filepath.Join(dir, "o.tar"))["count"])
			if count == "" || count == "0" {
				t.Fatalf("the hook wrote to %q packages", count)
			}
			files := 0
			err := filepath.WalkDir(filepath.Join(state, "packages", "sha256"),
				func(name string, d fs.DirEntry, err error) error {
					if err != nil || !d.Type().IsRegular() {
						return err
					}
					files++
					data, err := os.ReadFile(name)
					if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != d.Name() {
						t.Errorf("%s has the digest %s", name, got)
					}
					return err
				})
			if err != nil || files == 0 {
				t.Errorf("%d cached files, %v", files, err)
			}
		})
	}
}
