package oci

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

// runTemplate is the directory with which /run begins in containers.
func (e *Engine) runTemplate() string { return filepath.Join(e.session.dir, "etc", "run") }

// writeRunTemplate fills it: with /run/lock, which packages expect, and with the host's name servers. A host that asks a
// server on its loopback can be copied, too: containers share its network.
func (e *Engine) writeRunTemplate() error {
	lock := filepath.Join(e.runTemplate(), "lock")
	if err := os.MkdirAll(lock, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(lock, 0o777|fs.ModeSticky); err != nil {
		return err
	}
	if len(e.options.Resolver) == 0 {
		return nil
	}
	for _, name := range []string{"resolv.conf", "stub-resolv.conf"} {
		if err := e.writeRunFile(path.Join(systemdResolve, name), e.options.Resolver); err != nil {
			return err
		}
	}
	return nil
}

// writeRunFile writes a file for /run; name is relative to that.
func (e *Engine) writeRunFile(name string, data []byte) error {
	file := filepath.Join(e.runTemplate(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// resolve makes /etc/resolv.conf work for a run without mounting on it: packages such as systemd-resolved replace that
// file, and a mount point cannot be replaced. The function it gives removes what it has written, if it is still the same.
func (c *Container) resolve() (undo func() error, err error) {
	nothing := func() error { return nil }
	resolver := c.engine.options.Resolver
	if len(resolver) == 0 {
		return nothing, nil
	}
	link, err := c.Readlink(resolvConf)
	if err == nil {
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(resolvConf), link)
		}
		if name, ok := strings.CutPrefix(path.Clean(link), "/run/"); ok {
			return nothing, c.engine.writeRunFile(name, resolver)
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
