// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// AptInstall installs packages of the mirror with the target's apt, which resolves alternatives and virtual packages.
type AptInstall struct {
	base
	Packages []string
	// Debconf has answers to the questions of packages, in the format of debconf-set-selections(1).
	Debconf []string
	// Recommends installs recommended packages as well.
	Recommends bool `json:",omitempty"`
	// Update has apt read its sources before, which a hook may have changed.
	Update bool `json:",omitempty"`
	// HoldInitramfs keeps packages from making the initramfs; Initramfs makes it once at the end.
	HoldInitramfs bool
}

func (AptInstall) Kind() string { return "apt.install" }

func (AptInstall) Kept() bool { return true }

func (AptInstall) LayerTitle(string) string { return "packages" }

func (AptInstall) Installs() bool { return true }

func (a AptInstall) Title() string { return "install " + strings.Join(a.Packages, " ") }

func (a AptInstall) Run(ctx context.Context, s *Context) error {
	if a.Update {
		// A mirror whose key only debootstrap was given keeps the lists that are there. What is missing then,
		// apt says below.
		if err := aptGet(ctx, s, nil, "update", "-o", "Acquire::Languages=none"); err != nil {
			if ctx.Err() != nil {
				return err
			}
			s.Log.Warn("apt-get update after the hooks of the phase essential", "error", err)
		}
	}
	if a.HoldInitramfs {
		if err := holdInitramfs(ctx, s); err != nil {
			return err
		}
	}
	if len(a.Debconf) > 0 {
		text := strings.Join(a.Debconf, "\n") + "\n"
		if err := s.InTargetWith(ctx, nil, text, "debconf-set-selections"); err != nil {
			return err
		}
	}
	if s.WaitForIndexes != nil {
		if err := s.WaitForIndexes(ctx); err != nil {
			return err
		}
	}
	args := append([]string{"install", recommendsOption(a.Recommends)}, a.Packages...)
	var environ []string
	if a.HoldInitramfs {
		environ = []string{noInitramfs}
	}
	if err := aptGetWith(ctx, s, environ, nil, args...); err != nil {
		return err
	}
	if s.Installed != nil {
		s.Installed(ctx)
	}
	return nil
}

// CustomPackages installs .deb files of the user. Their dependencies come from the mirror.
type CustomPackages struct {
	base
	// Files are the paths of the copies that Take has made.
	Files []string `json:"-"`
	// Names are the names of the files, which apt writes to logs in the image. Digests are their SHA-256 digests.
	Names, Digests []string
	// Recommends installs recommended packages as well.
	Recommends bool `json:",omitempty"`
}

func (CustomPackages) Kind() string { return "custom.packages" }

func (CustomPackages) Kept() bool { return true }

func (c CustomPackages) Title() string {
	return "install " + strings.Join(c.Names, " ")
}

func (c CustomPackages) Run(ctx context.Context, s *Context) error {
	var mounts []specs.Mount
	args := []string{"install", recommendsOption(c.Recommends)}
	for i, file := range c.Files {
		// Two files may have the same name. apt treats an argument with a slash as a file.
		inside := fmt.Sprintf("/run/custom-packages/%d/%s", i, c.Names[i])
		mounts = append(mounts, target.Bind(file, inside, "ro"))
		args = append(args, inside)
	}
	return aptGet(ctx, s, mounts, args...)
}

// recommendsOption returns the option of apt-get that decides about recommended packages. It is always set because the
// default depends on the configuration in the target.
func recommendsOption(install bool) string {
	if install {
		return "--install-recommends"
	}
	return "--no-install-recommends"
}

// aptGet runs apt-get non-interactively in the target, with the shared directory of packages and additional mounts. No
// daemons are started.
func aptGet(ctx context.Context, s *Context, mounts []specs.Mount, args ...string) error {
	return aptGetWith(ctx, s, nil, mounts, args...)
}

// aptGetWith is aptGet with additional variables.
func aptGetWith(ctx context.Context, s *Context, environ []string, mounts []specs.Mount, args ...string) error {
	blocked, err := blockDaemons(s.Target)
	if err != nil {
		return err
	}
	args = append([]string{"-y", "-q", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0",
		"-o", "Acquire::Retries=3"}, args...)
	p, shared := s.installCommand("", append([]string{"apt-get"}, args...)...)
	p.Env = append(p.Env, environ...)
	err = s.Access.withHosts(s.Target, func() error {
		return s.Target.Run(ctx, p, append(shared, mounts...), strings.NewReader(""), s.Out)
	})
	if err != nil {
		return err
	}
	return unblockDaemons(s.Target, blocked)
}

// PolicyFile is the program by which invoke-rc.d(8) decides whether to start a daemon. Exit status 101 means no.
const PolicyFile = "/usr/sbin/policy-rc.d"

// PolicyScript is the PolicyFile during the build.
const PolicyScript = "#!/bin/sh\n# No daemon starts while the image is being built.\nexit 101\n"

// blockDaemons keeps packages from starting daemons, unless the target has its own policy, or no directory for one.
func blockDaemons(t target.Target) (blocked bool, err error) {
	possible, err := target.Exists(t, path.Dir(PolicyFile))
	if err != nil || !possible {
		return false, err
	}
	exists, err := target.Exists(t, PolicyFile)
	if err != nil || exists {
		return false, err
	}
	if err := t.WriteFile(PolicyFile, []byte(PolicyScript), 0o755); err != nil {
		return false, fmt.Errorf("keep daemons from starting: %w", err)
	}
	return true, nil
}

// unblockDaemons undoes blockDaemons. It keeps a policy that a package or the user wrote in the meantime.
func unblockDaemons(t target.Target, blocked bool) error {
	if !blocked {
		return nil
	}
	text, err := t.ReadFile(PolicyFile)
	if err == nil && string(text) != PolicyScript {
		return nil
	}
	return t.Remove(PolicyFile)
}

// diverted is the suffix of a program of a package that a script replaces for a while.
const diverted = ".diverted"

// diversion has dpkg keep a file, installed or not, under another name; see dpkg-divert(1).
type diversion struct {
	file, to string
	// owner are the options that say whose diversion it is.
	owner []string
}

// localDiversion is that of a file to its name with the suffix diverted.
func localDiversion(file string) diversion {
	return diversion{file, file + diverted, []string{"--local"}}
}

// divert adds diversions.
func (s *Context) divert(ctx context.Context, all ...diversion) error {
	for _, d := range all {
		if err := s.dpkgDivert(ctx, d, "--add"); err != nil {
			return fmt.Errorf("divert %s: %w", d.file, err)
		}
	}
	return nil
}

// undivert removes what replaced diverted files, and gives them their names back.
func (s *Context) undivert(ctx context.Context, all ...diversion) error {
	for _, d := range all {
		if err := s.Target.Remove(d.file); err != nil {
			return err
		}
		if err := s.dpkgDivert(ctx, d, "--remove"); err != nil {
			return fmt.Errorf("end the diversion of %s: %w", d.file, err)
		}
	}
	return nil
}

func (s *Context) dpkgDivert(ctx context.Context, d diversion, action string) error {
	args := append([]string{"dpkg-divert", "--quiet", "--rename"}, d.owner...)
	return s.inTarget(ctx, append(args, "--divert", d.to, action, d.file)...)
}
