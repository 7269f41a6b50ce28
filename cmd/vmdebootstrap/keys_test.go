// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCopiesOfAnImageShareNoKeys builds twice, with a hook that installs one of the packages, and looks for everything
// that the packages' maintainer scripts made from randomness: it would be the same in all copies of an image.
func TestCopiesOfAnImageShareNoKeys(t *testing.T) {
	dir := t.TempDir()
	hook := "#!/bin/sh\nset -e\nchroot \"$1\" apt-get install -y --no-install-recommends munge\n"
	if err := os.WriteFile(filepath.Join(dir, "hook.sh"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	var trees [2]map[string]string
	for i, name := range []string{"one.tar", "two.tar"} {
		cmd := vmdebootstrap(t, "--no-cache", "--tarball", name, "--debootstrapopts=variant=minbase", "--no-kernel",
			"--no-acpid", "--lock-root-password", "--package=openssh-server", "--package=ssl-cert", "--package=nvme-cli",
			"--package=open-iscsi", "--package=bind9", "--customize=./hook.sh")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		trees[i] = tarEntries(t, filepath.Join(dir, name))
	}
	for _, name := range slices.Sorted(maps.Keys(merged(trees[0], trees[1]))) {
		if trees[0][name] != trees[1][name] {
			t.Errorf("%s:\n%s\n%s", name, trees[0][name], trees[1][name])
		}
		if strings.Contains(name, "ssh_host_") || strings.Contains(name, "snakeoil") {
			t.Errorf("the image holds %s", name)
		}
	}
	if _, ok := trees[0]["./usr/local/sbin/make-machine-keys"]; !ok {
		t.Errorf("nothing makes the keys of %d files", len(trees[0]))
	}
}
