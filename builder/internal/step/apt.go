// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// AptInstall installs packages of the mirror with the target's apt, which knows alternatives and provides.
type AptInstall struct {
	base
	Packages []string
	// Debconf answers questions before they are asked, in the form of debconf-set-selections(1).
	Debconf []string
	// Recommends installs what the packages recommend as well.
	Recommends bool `json:",omitempty"`
	// HoldInitramfs puts the initramfs off: it is made once, at the end, and not by each package (Initramfs).
	HoldInitramfs bool
}

func (AptInstall) Kind() string { return "apt.install" }

func (AptInstall) Kept() bool { return true }

func (AptInstall) LayerTitle(string) string { return "packages" }

func (AptInstall) Installs() bool { return true }

func (a AptInstall) Title() string { return "install " + strings.Join(a.Packages, " ") }

func (a AptInstall) Run(ctx context.Context, s *Context) error {
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
	return aptGet(ctx, s, nil, append([]string{"install", recommendsOption(a.Recommends)}, a.Packages...)...)
}

// CustomPackages installs .deb files of the user; what they depend on comes from the mirror.
type CustomPackages struct {
	base
	// Files are the copies that Take has made.
	Files []string `json:"-"`
	// Names are those of the files: apt notes them in the image's logs. Digests are the SHA-256 digests.
	Names, Digests []string
	// Recommends installs what they recommend as well.
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
		// Two files may have one name; apt takes a word with a slash for a file.
		inside := fmt.Sprintf("/run/custom-packages/%d/%s", i, c.Names[i])
		mounts = append(mounts, target.Bind(file, inside, "ro"))
		args = append(args, inside)
	}
	return aptGet(ctx, s, mounts, args...)
}

// recommendsOption tells apt-get whether to install what packages recommend. It does so by itself, if its configuration
// in the target does not say otherwise.
func recommendsOption(yes bool) string {
	if yes {
		return "--install-recommends"
	}
	return "--no-install-recommends"
}

// aptGet runs apt-get in the target without questions, with the shared directory of packages and more mounts, and with
// daemons kept from starting.
func aptGet(ctx context.Context, s *Context, mounts []specs.Mount, args ...string) error {
	blocked, err := blockDaemons(s.Target)
	if err != nil {
		return err
	}
	args = append([]string{"apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0",
		"-o", "Acquire::Retries=3"}, args...)
	if err := s.Target.Run(ctx, s.Command(args...), append([]specs.Mount{target.Bind(s.Archives, archivesDir)},
		mounts...), strings.NewReader(""), s.Out); err != nil {
		return err
	}
	return unblockDaemons(s.Target, blocked)
}

// PolicyFile tells invoke-rc.d(8) whether a package's daemon may be started; 101 means "forbidden".
const PolicyFile = "/usr/sbin/policy-rc.d"

const PolicyScript = "#!/bin/sh\n# No daemon starts while the image is being built.\nexit 101\n"

// blockDaemons keeps packages from starting daemons, unless the target has a policy of its own.
func blockDaemons(t target.Target) (blocked bool, err error) {
	there, err := target.Exists(t, PolicyFile)
	if err != nil || there {
		return false, err
	}
	if err := t.WriteFile(PolicyFile, []byte(PolicyScript), 0o755); err != nil {
		return false, fmt.Errorf("keep daemons from starting: %w", err)
	}
	return true, nil
}

// unblockDaemons undoes blockDaemons; a policy that somebody else wrote in the meantime stays.
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
