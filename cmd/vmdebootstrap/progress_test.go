// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Issue 17, 1: of a first build of 276 s, 274 s were silent. The bound is that of the issue.
func TestTerminalIsNeverSilentInAColdBuild(t *testing.T) {
	name := filepath.Join(t.TempDir(), "root.tar")
	text, stdout, silence, err := onTerminal(t, vmdebootstrap(t, "--tarball="+name, "--no-kernel", "--no-acpid",
		"--no-systemd-networkd", "--debootstrapopts=variant=minbase", "--lock-root-password", "--package=nano",
		"--state-dir="+(&offline{t: t}).machine()), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if silence > 2*time.Second {
		t.Errorf("the terminal was silent for %s", silence)
	}
	if stdout != "" {
		t.Errorf("standard output without --verbose: %q", stdout)
	}
	for _, want := range []string{" bootstrap ", "  download ", "  verify ", "  unpack ", "  configure ",
		" install nano", " write " + name[:10]} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing was said of %q", want)
		}
	}
	if end := belowBlock(text); !strings.HasPrefix(end, "wrote "+name+": ") || !strings.Contains(end, "\ndone in ") {
		t.Errorf("below the live block stands %q", end)
	}
}
