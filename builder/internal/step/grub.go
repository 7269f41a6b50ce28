// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// GRUB writes what GRUB reads from /boot/grub: its modules, its environment block, and grub.cfg, made by the
// target's own update-grub. The boot code outside of file systems and the EFI system partition are the
// assembler's work.
type GRUB struct {
	base
	// Platforms are GRUB's names of what it is to run on: "i386-pc", "x86_64-efi".
	Platforms []string
	// SerialDevice, if set, has menu, kernel and login on the first serial line as well; it is that line's name in
	// Linux: "ttyS0", "ttyAMA0".
	SerialDevice string
	// Cloud says that the package grub-cloud-amd64 looks after GRUB.
	Cloud bool
	Probe grub.ProbeAnswers
}

func (GRUB) Kind() string { return "grub" }

func (g GRUB) Title() string { return "configure GRUB for " + strings.Join(g.Platforms, " and ") }

func (g GRUB) Run(ctx context.Context, s *Context) error {
	if err := g.Defaults(s.Target); err != nil {
		return err
	}
	for _, platform := range g.Platforms {
		if err := s.Target.MkdirAll("/boot/grub/"+platform, 0o755); err != nil {
			return err
		}
		// The modules must be those that the core image was made from, so they are copied from one place.
		copyModules := "cp /usr/lib/grub/" + platform + "/*.mod /usr/lib/grub/" + platform + "/*.lst /boot/grub/" +
			platform + "/"
		if err := s.inTarget(ctx, "sh", "-c", copyModules); err != nil {
			return err
		}
	}
	if err := s.Target.WriteFile("/boot/grub/grubenv", grub.Environment(), 0o644); err != nil {
		return err
	}
	if err := g.updateGrub(ctx, s); err != nil {
		return err
	}
	if !g.Cloud {
		return nil
	}
	// Only now: with this file there, the package would have run grub-install, which has no disk to find yet.
	return s.Target.WriteFile(CloudSwitch, nil, 0o644)
}

// CloudSwitch has grub-cloud-amd64 install GRUB anew whenever one of its packages is upgraded.
const CloudSwitch = "/etc/grub.d/enable_cloud"

// updateGrub runs the target's update-grub. grub-probe and grub-mkrelpath would look for the devices under / and /boot,
// and there are none yet: for this one run they are replaced by scripts that know the answers, and the file systems'
// names in /dev exist.
func (g GRUB) updateGrub(ctx context.Context, s *Context) error {
	dir, err := os.MkdirTemp(s.Tmp, "grub-probe-")
	if err != nil {
		return fmt.Errorf("make a directory for the answers to update-grub: %w", err)
	}
	defer os.RemoveAll(dir)
	probe, relpath, device := filepath.Join(dir, "grub-probe"), filepath.Join(dir, "grub-mkrelpath"),
		filepath.Join(dir, "device")
	if err := os.WriteFile(probe, grub.ProbeScript(g.Probe), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(relpath, grub.RelpathScript(g.Probe), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(device, nil, 0o644); err != nil {
		return err
	}
	mounts := []specs.Mount{
		target.Bind(probe, "/usr/sbin/grub-probe", "ro"),
		target.Bind(relpath, "/usr/bin/grub-mkrelpath", "ro"),
		target.Bind(device, g.Probe.Root.Device(), "ro"),
	}
	if g.Probe.Boot != nil {
		mounts = append(mounts, target.Bind(device, g.Probe.Boot.Device(), "ro"))
	}
	return s.InTargetWith(ctx, mounts, "", "update-grub")
}

// serialDefaults is what --serial-console adds to GRUB's settings. 115200 baud is what the getty and the kernel's own
// default for QEMU use.
const serialDefaults = `
# Set by vmdebootstrap --serial-console.
GRUB_CMDLINE_LINUX_DEFAULT="console=tty0 console=%s,115200n8"
`

// serialTerminal has GRUB use the first serial port, which it knows only of the kind that PCs have. On other
// machines the firmware's console, which GRUB uses, is the serial line.
const serialTerminal = `GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1"
`

// CloudDefaults undoes what grub-cloud-amd64 sets in /etc/default/grub, a serial console among it. The file
// is a configuration file of the package: changed, it would stop each of its upgrades with a question, so
// this is another one.
const CloudDefaults = `# Set by vmdebootstrap, over what grub-cloud-amd64 has in /etc/default/grub.
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
GRUB_TERMINAL="console"
`

const (
	GRUBDefaults = "/etc/default/grub"
	// GRUBDefaultsDir is read after it, since jessie.
	GRUBDefaultsDir = "/etc/default/grub.d"
)

// Defaults writes GRUB's settings, as far as the packages' own do not suit.
func (g GRUB) Defaults(t target.Files) error {
	serial := ""
	if g.SerialDevice != "" {
		serial = fmt.Sprintf(serialDefaults, g.SerialDevice)
	}
	if strings.HasPrefix(g.SerialDevice, "ttyS") {
		serial += serialTerminal
	}
	if g.Cloud {
		if err := t.MkdirAll(GRUBDefaultsDir, 0o755); err != nil {
			return err
		}
		return t.WriteFile(GRUBDefaultsDir+"/vmdebootstrap.cfg", []byte(CloudDefaults+serial), 0o644)
	}
	if serial == "" {
		return nil
	}
	text, err := t.ReadFile(GRUBDefaults)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the packages that only have the files of GRUB do not bring it
		return err
	}
	return t.WriteFile(GRUBDefaults, append(text, serial...), 0o644)
}
