// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestInstallIsComplete runs make install-files with this program, and looks for what the manual and packages promise.
func TestInstallIsComplete(t *testing.T) {
	t.Parallel()
	dir, work := t.TempDir(), t.TempDir()
	program, run := filepath.Join(work, "file"), filepath.Join(work, programName)
	if err := errors.Join(os.WriteFile(program, []byte("the program\n"), 0o600),
		os.Symlink(vmdebootstrap(t).Path, run)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", "--directory=../..", "install-files", "PREFIX=/usr", "DESTDIR="+dir,
		"PROGRAM="+program, "RUN="+run)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, mode := range map[string]os.FileMode{
		"/usr/bin/vmdebootstrap":                                  0o755,
		"/usr/share/man/man1/vmdebootstrap.1":                     0o644,
		"/usr/share/man/man1/vmdebootstrap-boot.1":                0o644,
		"/usr/share/man/man5/vmdebootstrap.conf.5":                0o644,
		"/usr/share/bash-completion/completions/vmdebootstrap":    0o644,
		"/usr/share/fish/vendor_completions.d/vmdebootstrap.fish": 0o644,
		"/usr/share/zsh/site-functions/_vmdebootstrap":            0o644,
		"/usr/share/vmdebootstrap/common/customise.lib":           0o644,
		"/usr/share/vmdebootstrap/examples/qemu-efi-bochs-drm.sh": 0o755,
		"/usr/share/vmdebootstrap/examples/u-boot.lib":            0o644,
		"/usr/share/vmdebootstrap/qemu-wrapper.sh":                0o755,
		"/etc/apparmor.d/vmdebootstrap":                           0o644,
	} {
		info, err := os.Stat(dir + name)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode || info.Size() == 0 {
			t.Errorf("%s has mode %o and %d bytes, want %o and some", name, info.Mode().Perm(), info.Size(), mode)
		}
	}
}
