// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// machineKey is a secret or a name that a package makes when it is installed, and that each machine must have for
// itself: what is in an image is the same in all of its copies.
type machineKey struct {
	// program is a file of the package that makes it.
	program string
	// files are patterns of path.Match for its files.
	files []string
	// links is a directory with links to the files, by their names alone.
	links string
	// text takes the place of the only file, where the package makes the key at the start of its service itself.
	text string
	// command makes it anew, as the package's maintainer script does.
	command string
}

// machineKeys are the keys of Debian's packages that are not made when their service starts. A test of the
// mirror builds twice with these packages, and finds files that differ.
var machineKeys = []machineKey{
	{program: "/usr/sbin/sshd", files: []string{"/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub"},
		command: "ssh-keygen -A"},
	{program: "/usr/sbin/dropbear", files: []string{"/etc/dropbear/dropbear_*_host_key"},
		command: "for t in rsa ecdsa ed25519; do dropbearkey -t $t -f /etc/dropbear/dropbear_${t}_host_key; done"},
	{program: "/usr/sbin/make-ssl-cert",
		files:   []string{"/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/ssl/certs/ssl-cert-snakeoil.pem"},
		links:   "/etc/ssl/certs", // a hash of the name in the certificate, see c_rehash(1)
		command: "make-ssl-cert generate-default-snakeoil --force-overwrite"},
	{program: "/usr/sbin/mungekey", files: []string{"/etc/munge/munge.key"},
		command: "su munge -s /bin/sh -c 'mungekey -c'"},
	{program: "/usr/sbin/rndc-confgen", files: []string{"/etc/bind/rndc.key"},
		command: "rndc-confgen -a && chown bind:bind /etc/bind/rndc.key && chmod g+r /etc/bind/rndc.key"},
	{program: "/usr/sbin/nvme", files: []string{"/etc/nvme/hostnqn"}, command: "nvme gen-hostnqn >/etc/nvme/hostnqn"},
	{program: "/usr/sbin/nvme", files: []string{"/etc/nvme/hostid"},
		command: "cat /proc/sys/kernel/random/uuid >/etc/nvme/hostid"},
	{program: "/usr/sbin/iscsi-iname", files: []string{"/etc/iscsi/initiatorname.iscsi"},
		text: "## DO NOT EDIT OR REMOVE THIS FILE!\n## iscsid makes a name when it starts.\nGenerateName=yes\n"},
}

// matches returns the files of a key that are there.
func (k machineKey) matches(t target.Target) ([]string, error) {
	var found []string
	for _, pattern := range k.files {
		names, err := k.list(t, path.Dir(pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if ok, _ := path.Match(pattern, name); ok {
				found = append(found, name)
			}
		}
	}
	names, err := k.list(t, k.links)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		to, err := t.Readlink(name)
		if err == nil && slices.Contains(found, path.Join(k.links, to)) {
			found = append(found, name)
		}
	}
	return found, nil
}

// list returns the names in a directory, none if there is none.
func (machineKey) list(t target.Target, dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := t.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, path.Join(dir, e.Name()))
	}
	return names, nil
}

// KeyMakers returns the programs of machineKeys that the target has.
func KeyMakers(t target.Target) (map[string]bool, error) {
	have := map[string]bool{}
	for _, k := range machineKeys {
		there, err := target.Exists(t, k.program)
		if err != nil {
			return nil, err
		}
		if there {
			have[k.program] = true
		}
	}
	return have, nil
}

// RemoveMachineKeys removes the keys of packages that were installed since before was the result of KeyMakers. Those of
// other packages were made, or put there, on purpose.
func RemoveMachineKeys(t target.Target, before map[string]bool) error {
	now, err := KeyMakers(t)
	if err != nil {
		return err
	}
	for _, k := range machineKeys {
		if !now[k.program] || before[k.program] {
			continue
		}
		files, err := k.matches(t)
		if err != nil {
			return err
		}
		for _, name := range files {
			if k.text != "" {
				err = t.WriteFile(name, []byte(k.text), 0o600)
			} else {
				err = t.Remove(name)
			}
			if err != nil {
				return fmt.Errorf("remove a key that all copies of the image would have: %w", err)
			}
		}
	}
	return nil
}

// MachineKeys has the machine make the keys that its image must not hold, at each start at which one is missing.
type MachineKeys struct {
	base
	// Sysvinit: the release has no systemd.
	Sysvinit bool `json:",omitempty"`
}

func (MachineKeys) Kind() string { return "keys" }

func (MachineKeys) Title() string { return "let each copy make its own keys" }

// Names of the files of MachineKeys.
const (
	MachineKeysProgram = "/usr/local/sbin/make-machine-keys"
	machineKeysInit    = "/etc/init.d/make-machine-keys"
)

var machineKeysService = service{
	program: MachineKeysProgram, unit: systemUnits + "make-machine-keys.service",
	wanted: systemUnits + "sysinit.target.wants/make-machine-keys.service",
}

const machineKeysHead = `#!/bin/sh
### BEGIN INIT INFO
# Provides:          make-machine-keys
# Required-Start:    $local_fs
# Required-Stop:
# Default-Start:     S
# Default-Stop:
# Short-Description: make missing keys of this machine
### END INIT INFO
# Written by vmdebootstrap. The image holds no keys, because all of its copies would have the same.
status=0
missing() { for file; do [ ! -e "$file" ] || return 1; done; }
`

// The service runs before all others, so that none finds its key missing. On a read-only root file system whose changes
// are lost the keys are made at each start. live-config runs before basic.target, beside this: it makes some of the
// same keys, and its user by debconf, which make-ssl-cert locks.
const machineKeysUnit = `# Written by vmdebootstrap.
[Unit]
Description=Make missing keys of this machine
DefaultDependencies=no
Conflicts=shutdown.target
After=local-fs.target systemd-random-seed.service systemd-tmpfiles-setup.service systemd-sysusers.service
Before=sysinit.target live-config.service shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + MachineKeysProgram + `
`

func (m MachineKeys) Run(ctx context.Context, s *Context) error {
	have, err := KeyMakers(s.Target)
	if err != nil {
		return err
	}
	var script strings.Builder
	for _, k := range machineKeys {
		if !have[k.program] || k.command == "" {
			continue
		}
		files, err := k.matches(s.Target)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			fmt.Fprintf(&script, "if missing %s; then %s || status=1; fi\n", k.files[0], k.command)
		}
	}
	if script.Len() == 0 {
		return nil
	}
	text := machineKeysHead + script.String() + "exit $status\n"
	if m.Sysvinit {
		if err := target.WriteFileIn(s.Target, machineKeysInit, text, 0o755); err != nil {
			return err
		}
		return s.inTarget(ctx, "update-rc.d", path.Base(machineKeysInit), "defaults")
	}
	return machineKeysService.write(s.Target, text, machineKeysUnit)
}
