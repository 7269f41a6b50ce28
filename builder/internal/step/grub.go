// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// GRUB writes the files that GRUB reads from /boot/grub: its modules, its environment block, and grub.cfg, made by the
// target's own update-grub. The assembler writes the boot code outside of file systems and the EFI system partition.
type GRUB struct {
	base
	// Platforms are GRUB's names of the platforms to boot on: "i386-pc", "x86_64-efi".
	Platforms []string
	// SerialDevice is Linux's name of the first serial port ("ttyS0", "ttyAMA0"), if menu, kernel and login use that
	// as well.
	SerialDevice string
	// Cloud reports whether the package grub-cloud-amd64 maintains GRUB.
	Cloud bool
	// Probe has the results of grub-probe on the disk in the booted image.
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
		// The modules must be those that the core image is made from, so both come from the same directory.
		copyModules := "cp /usr/lib/grub/" + platform + "/*.mod /usr/lib/grub/" + platform + "/*.lst /boot/grub/" +
			platform + "/"
		if err := s.inTarget(ctx, "sh", "-c", copyModules); err != nil {
			return err
		}
	}
	if err := s.Target.WriteFile("/boot/grub/grubenv", grub.Environment(), 0o644); err != nil {
		return err
	}
	err := s.withGRUBProbe(ctx, "", g.Probe, func(mounts []specs.Mount) error {
		return s.InTargetWith(ctx, mounts, "", "update-grub")
	})
	if err != nil {
		return err
	}
	if !g.Cloud {
		return nil
	}
	// This comes last: with this file the package would have run grub-install, which finds no disk yet.
	return s.Target.WriteFile(CloudSwitch, nil, 0o644)
}

// CloudSwitch makes grub-cloud-amd64 install GRUB again whenever one of its packages is upgraded.
const CloudSwitch = "/etc/grub.d/enable_cloud"

// serialSettings returns the settings that --serial-console changes. The getty and the kernel's default for QEMU use
// 115200 baud as well. GRUB supports only serial ports of PCs; on other machines it uses the firmware's console, which
// is the serial line.
func (g GRUB) serialSettings() []setting {
	if g.SerialDevice == "" {
		return nil
	}
	settings := []setting{{"GRUB_CMDLINE_LINUX_DEFAULT", "console=tty0 console=" + g.SerialDevice + ",115200n8"}}
	if slices.ContainsFunc(g.Platforms, ofPC) {
		settings = append(settings, setting{"GRUB_TERMINAL", "console serial"},
			setting{"GRUB_SERIAL_COMMAND", "serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1"})
	}
	return settings
}

// ofPC reports whether a platform is one of PCs.
func ofPC(platform string) bool {
	cpu, _, _ := strings.Cut(platform, "-")
	return cpu == "i386" || cpu == "x86_64"
}

// setting is a variable of a file of shell assignments.
type setting struct{ name, value string }

// change replaces the assignments of the settings in text, and appends those that it lacks: an assignment before the
// last one would be read by people, but not by update-grub.
func change(text string, settings []setting) string {
	var appended strings.Builder
	for _, s := range settings {
		line := fmt.Sprintf("%s=%q", s.name, s.value)
		assignment := regexp.MustCompile(`(?m)^` + s.name + `=.*$`)
		first := true
		changed := assignment.ReplaceAllStringFunc(text, func(old string) string {
			if !first {
				return "# " + old
			}
			first = false
			return line
		})
		if text = changed; first {
			appended.WriteString(line + "\n")
		}
	}
	if appended.Len() == 0 {
		return text
	}
	return text + "\n# Set by vmdebootstrap --serial-console.\n" + appended.String()
}

// cloudDefaults overrides settings of grub-cloud-amd64 in /etc/default/grub, such as a serial console. That is a
// configuration file of the package, whose upgrades would ask about any change; so these settings are in another file.
const cloudDefaults = `# Set by vmdebootstrap, over what grub-cloud-amd64 has in /etc/default/grub.
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
GRUB_TERMINAL="console"
`

// Settings of update-grub.
const (
	GRUBDefaults = "/etc/default/grub"
	// GRUBDefaultsDir has files that are read after it, since jessie.
	GRUBDefaultsDir = "/etc/default/grub.d"
)

// Defaults writes the settings that differ from those of the packages.
func (g GRUB) Defaults(t target.Files) error {
	if g.Cloud {
		if err := t.MkdirAll(GRUBDefaultsDir, 0o755); err != nil {
			return err
		}
		text := change(cloudDefaults, g.serialSettings())
		return t.WriteFile(GRUBDefaultsDir+"/vmdebootstrap.cfg", []byte(text), 0o644)
	}
	if g.SerialDevice == "" {
		return nil
	}
	text, err := t.ReadFile(GRUBDefaults)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // packages with only the files of GRUB do not contain it
		return err
	}
	return t.WriteFile(GRUBDefaults, []byte(change(string(text), g.serialSettings())), 0o644)
}

// withGRUBProbe calls run with mounts that update-grub needs, while scripts with the results replace grub-probe and
// grub-mkrelpath in the target. These look for the devices of / and /boot, which do not exist yet; an empty file is
// mounted for each of them. root is where the program sees the target. Without answers nothing is replaced.
//
// The programs are diverted (dpkg-divert(1)) and not covered by mounts, so that run may install, upgrade and remove
// their packages.
func (s *Context) withGRUBProbe(ctx context.Context, root string, a grub.ProbeAnswers,
	run func(mounts []specs.Mount) error) error {
	if a == (grub.ProbeAnswers{}) {
		return run(nil)
	}
	dir, err := os.MkdirTemp(s.Tmp, "grub-probe-")
	if err != nil {
		return fmt.Errorf("make a directory for the replacements of devices: %w", err)
	}
	defer os.RemoveAll(dir)
	device := filepath.Join(dir, "device")
	if err := os.WriteFile(device, nil, 0o644); err != nil {
		return err
	}
	// On the booted image the directory is there; grub-cloud-amd64 does not bring it.
	if err := s.Target.MkdirAll("/boot/grub", 0o755); err != nil {
		return err
	}
	mounts := []specs.Mount{target.Bind(device, root+a.Root.Device(), "ro")}
	if a.Boot != nil {
		mounts = append(mounts, target.Bind(device, root+a.Boot.Device(), "ro"))
	}
	const probe, relpath = "/usr/sbin/grub-probe", "/usr/bin/grub-mkrelpath"
	if err := s.divert(ctx, localDiversion(probe), localDiversion(relpath)); err != nil {
		return err
	}
	if err := s.Target.WriteFile(probe, grub.ProbeScript(a), 0o755); err != nil {
		return err
	}
	if err := s.Target.WriteFile(relpath, grub.RelpathScript(a), 0o755); err != nil {
		return err
	}
	if err := run(mounts); err != nil {
		return err
	}
	return s.undivert(ctx, localDiversion(probe), localDiversion(relpath))
}
