// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 19, 5: keys are in the image, and another key makes another image. Hashes of passwords are shown nowhere.
func TestKeysAndHashesOfABuild(t *testing.T) {
	t.Parallel()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIuBVVbLjJDYVr8vTnDi6WfFsgGlVIBe6Xj1V6lYmXGZ "
	o := newOffline(t)
	o.repo.Add(archivetest.Deb{Name: "openssh-server"})
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("accounts.sh", "#!/bin/sh\necho root:x:0:0::/root:/bin/sh >\"$1/etc/passwd\"\n"+
		"ln -s busybox \"$1/usr/bin/chown\"\n", 0o755)
	write("root.pub", key+"root\n", 0o644)
	machine := o.machine()
	for _, name := range []string{"alice", "bob"} {
		write("id.pub", key+name+"\n", 0o644)
		text := o.build(machine, "--hook=essential:accounts.sh", "--ssh-key=id.pub", "--authorized-keys=root:root.pub",
			"--password-hash=root:$6$s3cret$x",
			"--log=build.log", "--log-level=debug")
		if got := o.files()["root/.ssh/authorized_keys"]; got != key+name+"\n"+key+"root\n" {
			t.Errorf("authorized_keys is %q, want the key of %s", got, name)
		}
		log, err := os.ReadFile(filepath.Join(o.dir, "build.log"))
		if err != nil || strings.Contains(text+string(log), "s3cret") {
			t.Errorf("the hash is shown (%v):\n%s\n%s", err, text, log)
		}
	}
	write("id.pub", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o600)
	if text, err := o.try(machine, "--ssh-key=id.pub"); err == nil || !strings.Contains(text, "--ssh-key: ") ||
		!strings.Contains(text, "it is a private key") {
		t.Errorf("got %v\n%s", err, text)
	}
}
