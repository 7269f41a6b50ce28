package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// grubStep writes what GRUB reads from /boot/grub: its modules, its environment block, and grub.cfg, made by the
// target's own update-grub. The boot code outside of file systems is the assembler's work.
type grubStep struct {
	// Platform is GRUB's name of what it runs on: "i386-pc", "x86_64-efi".
	Platform string
	// SerialDevice, if set, has menu, kernel and login on the first serial line as well; it is that line's name in
	// Linux: "ttyS0", "ttyAMA0".
	SerialDevice string
	Probe        grub.ProbeAnswers
}

func (grubStep) Kind() string { return "grub" }

func (g grubStep) Title() string { return "configure GRUB for " + g.Platform }

func (g grubStep) run(ctx context.Context, s *site) error {
	if g.SerialDevice != "" {
		if err := g.serial(s.target); err != nil {
			return err
		}
	}
	if err := s.target.MkdirAll("/boot/grub/"+g.Platform, 0o755); err != nil {
		return err
	}
	// The modules must be those that the core image was made from, so they are copied from one place.
	copyModules := "cp /usr/lib/grub/" + g.Platform + "/*.mod /usr/lib/grub/" + g.Platform + "/*.lst /boot/grub/" + g.Platform + "/"
	if err := s.inTarget(ctx, "sh", "-c", copyModules); err != nil {
		return err
	}
	if err := s.target.WriteFile("/boot/grub/grubenv", grub.Environment(), 0o644); err != nil {
		return err
	}
	return g.updateGrub(ctx, s)
}

// updateGrub runs the target's update-grub. grub-probe and grub-mkrelpath would look for the devices under / and /boot,
// and there are none yet: for this one run they are replaced by scripts that know the answers, and the file systems'
// names in /dev exist.
func (g grubStep) updateGrub(ctx context.Context, s *site) error {
	dir, err := os.MkdirTemp(s.tmp, "grub-probe-")
	if err != nil {
		return fmt.Errorf("make a directory for the answers to update-grub: %w", err)
	}
	defer os.RemoveAll(dir)
	probe, relpath, device := filepath.Join(dir, "grub-probe"), filepath.Join(dir, "grub-mkrelpath"), filepath.Join(dir, "device")
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
		bind(probe, "/usr/sbin/grub-probe", "ro"),
		bind(relpath, "/usr/bin/grub-mkrelpath", "ro"),
		bind(device, g.Probe.Root.Device(), "ro"),
	}
	if g.Probe.Boot != nil {
		mounts = append(mounts, bind(device, g.Probe.Boot.Device(), "ro"))
	}
	return s.inTargetWith(ctx, mounts, "", "update-grub")
}

// serialDefaults is what --serial-console adds to /etc/default/grub. 115200 baud is what the getty and the kernel's
// own default for qemu use.
const serialDefaults = `
# Set by vmdebootstrap --serial-console.
GRUB_CMDLINE_LINUX_DEFAULT="console=tty0 console=%[1]s,115200n8"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1"
`

func (g grubStep) serial(t Target) error {
	const name = "/etc/default/grub"
	text, err := t.ReadFile(name)
	if err != nil {
		return err
	}
	return t.WriteFile(name, fmt.Appendf(text, serialDefaults, g.SerialDevice), 0o644)
}
