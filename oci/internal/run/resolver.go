// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const resolvConf = "/etc/resolv.conf"

// systemdResolve is where systemd-resolved keeps the files that /etc/resolv.conf points to where it is in use.
const systemdResolve = "systemd/resolve"

// WriteTemplate fills the directory with which /run begins in containers: with /run/lock, which packages
// expect, and with the host's name servers. A host that asks a server on its loopback can be copied, too:
// containers share its network.
func (r *Runner) WriteTemplate() error {
	lock := filepath.Join(r.Template, "lock")
	if err := os.MkdirAll(lock, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(lock, 0o777|fs.ModeSticky); err != nil {
		return err
	}
	if len(r.Resolver) == 0 {
		return nil
	}
	for _, name := range []string{"resolv.conf", "stub-resolv.conf"} {
		if err := r.writeRunFile(path.Join(systemdResolve, name), r.Resolver); err != nil {
			return err
		}
	}
	return nil
}

// writeRunFile writes a file for /run; name is relative to that.
func (r *Runner) writeRunFile(name string, data []byte) error {
	file := filepath.Join(r.Template, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// resolve makes /etc/resolv.conf work for a run without mounting on it: packages such as systemd-resolved
// replace that file, and a mount point cannot be replaced. The function it gives removes what it has written,
// if it is still the same.
func (r *Runner) resolve(c Root) (undo func() error, err error) {
	nothing := func() error { return nil }
	resolver := r.Resolver
	if len(resolver) == 0 {
		return nothing, nil
	}
	link, err := c.Readlink(resolvConf)
	if err == nil {
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(resolvConf), link)
		}
		if name, ok := strings.CutPrefix(path.Clean(link), "/run/"); ok {
			return nothing, r.writeRunFile(name, resolver)
		}
		return nothing, nil
	}
	if _, err := c.Lstat(resolvConf); !errors.Is(err, fs.ErrNotExist) {
		return nothing, err
	}
	if _, err := c.Lstat(path.Dir(resolvConf)); err != nil {
		return nothing, nil // not even an /etc: no system that could ask for names
	}
	if err := c.WriteFile(resolvConf, resolver, 0o644); err != nil {
		return nothing, err
	}
	return func() error {
		info, err := c.Lstat(resolvConf)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		data, err := c.ReadFile(resolvConf)
		if err != nil || !bytes.Equal(data, resolver) {
			return err
		}
		return c.Remove(resolvConf)
	}, nil
}
