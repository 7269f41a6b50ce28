// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// withKeys has what the packages openssh-server, ssl-cert and open-iscsi make when they are installed.
var withKeys = map[string]string{
	"/usr/sbin/sshd": "x", "/usr/sbin/make-ssl-cert": "x", "/usr/sbin/iscsi-iname": "x",
	"/etc/ssh/ssh_host_ed25519_key": "secret", "/etc/ssh/ssh_host_ed25519_key.pub": "public",
	"/etc/ssh/sshd_config":                      "x",
	"/etc/ssl/private/ssl-cert-snakeoil.key":    "secret",
	"/etc/ssl/certs/ssl-cert-snakeoil.pem":      "public",
	"/etc/ssl/certs/ca-certificates.crt":        "x",
	"/etc/iscsi/initiatorname.iscsi":            "InitiatorName=iqn.1993-08.org.debian:01:d0187aa242e\n",
	"/etc/systemd/system/sysinit.target.wants/": "",
}

// Issue 14, 1: keys that packages make were the same in all copies of an image.
func TestKeysOfNewPackagesAreRemoved(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, withKeys)
	for name, to := range map[string]string{"d1.0": "ssl-cert-snakeoil.pem", "d2.0": "ca.pem"} {
		if err := f.Symlink(to, "/etc/ssl/certs/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := step.RemoveMachineKeys(f, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/etc/ssh/ssh_host_ed25519_key": "(absent)", "/etc/ssh/ssh_host_ed25519_key.pub": "(absent)",
		"/etc/ssl/private/ssl-cert-snakeoil.key": "(absent)", "/etc/ssl/certs/ssl-cert-snakeoil.pem": "(absent)",
		"/etc/ssh/sshd_config": "x", "/etc/ssl/certs/ca-certificates.crt": "x",
	} {
		if got := f.Readable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := f.Readable("/etc/iscsi/initiatorname.iscsi"); !strings.Contains(got, "GenerateName=yes\n") {
		t.Errorf("the initiator's name is %q", got)
	}
	for name, want := range map[string]error{"d1.0": fs.ErrNotExist, "d2.0": nil} {
		if _, err := f.Readlink("/etc/ssl/certs/" + name); (err == nil) != (want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}

func TestKeysOfOlderPackagesAreTheUsers(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, withKeys)
	if err := step.RemoveMachineKeys(f, map[string]bool{"/usr/sbin/sshd": true}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/etc/ssh/ssh_host_ed25519_key"); got != "secret" {
		t.Errorf("a key that a hook has put there is %q", got)
	}
	if got := f.Readable("/etc/ssl/private/ssl-cert-snakeoil.key"); got != "(absent)" {
		t.Errorf("ssl-cert's key is %q", got)
	}
}

func TestMissingKeysAreMadeAtTheStart(t *testing.T) {
	t.Parallel()
	for _, sysvinit := range []bool{false, true} {
		f := targettest.New(t, withKeys)
		if err := f.Remove("/etc/ssh/ssh_host_ed25519_key"); err != nil {
			t.Fatal(err)
		}
		if err := f.Remove("/etc/ssh/ssh_host_ed25519_key.pub"); err != nil {
			t.Fatal(err)
		}
		if err := runStep(t, f, step.MachineKeys{Sysvinit: sysvinit}); err != nil {
			t.Fatal(err)
		}
		name := step.MachineKeysProgram
		if sysvinit {
			name = "/etc/init.d/make-machine-keys"
			if !slices.Equal(f.Transcript, []string{"update-rc.d make-machine-keys defaults"}) {
				t.Errorf("ran %q", f.Transcript)
			}
		} else if to, err := f.Readlink(
			"/etc/systemd/system/sysinit.target.wants/make-machine-keys.service"); err != nil ||
			to != "../make-machine-keys.service" {
			t.Errorf("the service is not wanted: %q, %v", to, err)
		}
		got := f.Readable(name)
		if !strings.Contains(got, "if missing /etc/ssh/ssh_host_*_key; then ssh-keygen -A || status=1; fi\n") ||
			strings.Contains(got, "make-ssl-cert") {
			t.Errorf("the program is %q", got)
		}
	}
}

func TestNothingIsAddedWhereNoKeyIsMissing(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, withKeys)
	if err := runStep(t, f, step.MachineKeys{}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.MachineKeysProgram); got != "(absent)" {
		t.Errorf("got %q", got)
	}
}
