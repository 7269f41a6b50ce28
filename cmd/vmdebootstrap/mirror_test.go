// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 15, 1: the real debootstrap asked the mirror for the suite once more, and for another compression of its index.
func TestRealDebootstrapAsksNoMirror(t *testing.T) {
	mirror, ok := archive.HostMirror(os.DirFS("/"))
	if !ok {
		t.Fatal("this machine has no Debian mirror in its apt sources")
	}
	repo := archivetest.NewRepository(t, "none")
	repo.Forward(mirror)
	state := filepath.Join(t.TempDir(), "state")
	cmd := vmdebootstrap(t, "--no-default-configs", "--state-dir", state, "--mirror", repo.URL(), "--distribution=trixie",
		"--tarball", filepath.Join(t.TempDir(), "x.tar"), "--no-kernel", "--no-acpid", "--no-systemd-networkd",
		"--lock-root-password", "--debootstrapopts", "variant=minbase")
	cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=", "no_proxy=*")
	t.Cleanup(func() {
		if out, err := vmdebootstrap(t, "cache", "clear", "--state-dir", state).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := map[string]bool{}
	for _, path := range repo.Requests() {
		if seen[path] || strings.HasSuffix(path, "Packages.xz") {
			t.Errorf("the mirror was asked for %s once more", path)
		}
		seen[path] = true
	}
	if len(seen) == 0 {
		t.Error("the mirror was not asked at all")
	}
}
