// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestShellRunsInACopyOfAnImage needs a static busybox and containers, and no network (issue 17, 4).
func TestShellRunsInACopyOfAnImage(t *testing.T) {
	busybox, err := os.ReadFile(diskimagetest.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	image := diskWith(t, map[string]string{"bin/sh": string(busybox), "etc/fstab": "# none\n", "etc/motd": "as it was\n"})
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	o := offline{t: t, dir: t.TempDir()}
	state := o.machine()
	shell := func(stdin string, args ...string) (string, error) {
		cmd := vmdebootstrap(t, append([]string{"shell", "--state-dir", state, image}, args...)...)
		cmd.Dir, cmd.Stdin = o.dir, strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := shell("", "--write", "out.tar", "--", "/bin/sh", "-c",
		"read x </etc/motd; echo $x; echo changed >/etc/motd")
	if err != nil || out != "as it was\n" {
		t.Errorf("got %q (%v)", out, err)
	}
	if got := o.files()["etc/motd"]; got != "changed\n" {
		t.Errorf("--write: /etc/motd has %q", got)
	}
	if out, err := shell("read x </etc/motd; echo $x; exit 3\n"); err != nil || out != "as it was\n" {
		t.Errorf("a shell whose last status is 3: got %q (%v)", out, err)
	}
	if out, err := shell("", "--", "/bin/sh", "-c", "exit 3"); err == nil ||
		!strings.Contains(out, "/bin/sh: exit status 3") {
		t.Errorf("a command with status 3: got %q (%v)", out, err)
	}
	if out, err := shell("", "--write", "out.tar.lz4"); err == nil || !strings.Contains(out, "--write: ") {
		t.Errorf("an unknown suffix: got %q (%v)", out, err)
	}
	if after, err := os.ReadFile(image); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the image was written to (%v)", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "vmdebootstrap-shell-*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %q (%v)", left, err)
	}
}
