// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// UBoot configures the package u-boot-menu and has it write /boot/extlinux/extlinux.conf, the menu of U-Boot. Its
// kernel hook does so again whenever the booted system installs or removes a kernel.
type UBoot struct {
	base
	// SeparateBoot reports whether /boot is a file system of its own in the booted system.
	SeparateBoot bool
	DeviceTree   DeviceTree
	// Arguments are the kernel arguments.
	Arguments string
}

// DeviceTree selects the device tree of a board. The zero DeviceTree leaves the choice to U-Boot, which knows the name
// of its board's.
type DeviceTree struct {
	// Name is its name below /usr/lib/linux-image-VERSION, or that which File gets in /boot.
	Name string
	// File, if not empty, is a copy of the user's own device tree, Digest that of its content.
	File   string `json:"-"`
	Digest string
}

// deviceTreeName matches a name that a shell and U-Boot read as one word.
var deviceTreeName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9,._+-]*(/[A-Za-z0-9_][A-Za-z0-9,._+-]*)*\.dtb$`)

// Check returns an error if Name is none of a device tree.
func (t DeviceTree) Check() error {
	if !deviceTreeName.MatchString(t.Name) {
		return fmt.Errorf("%q is no name of a device tree, such as allwinner/sun50i-a64-pine64.dtb", t.Name)
	}
	return nil
}

// Own reports whether it is the user's, and not one of the kernel's package.
func (t DeviceTree) Own() bool { return t.File != "" }

// KernelDeviceTrees returns the directory in which a kernel package has its device trees.
func KernelDeviceTrees(version string) string { return "/usr/lib/linux-image-" + version }

// UBootSettings is the file with our settings of u-boot-menu. Those of packages are in /usr/share/u-boot-menu/conf.d.
const UBootSettings = "/etc/u-boot-menu/conf.d/vmdebootstrap.conf"

// UBootMenu is the file that U-Boot reads.
const UBootMenu = "/boot/extlinux/extlinux.conf"

// UBootKernelNames are the prefixes of the names of kernels in /boot.
func UBootKernelNames() []string { return []string{"vmlinuz-", "vmlinux-"} }

func (UBoot) Kind() string { return "u-boot" }

func (UBoot) Title() string { return "configure U-Boot's menu" }

func (u UBoot) Run(ctx context.Context, s *Context) error {
	if err := u.Write(s.Target); err != nil {
		return err
	}
	if !u.SeparateBoot {
		return s.inTarget(ctx, "u-boot-update")
	}
	// u-boot-menu compares the devices of / and /boot, which are still the same. So this stat(1) comes before that of the
	// target: it prints the name instead of the number. The hook copies device trees to /boot and writes the menu.
	dir, err := os.MkdirTemp(s.Tmp, "u-boot-menu-")
	if err != nil {
		return fmt.Errorf("make a directory for the stat of u-boot-menu: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	const script = "#!/bin/sh\n# Called as: stat --printf %d DIRECTORY\nprintf %s \"$3\"\n"
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(script), 0o755); err != nil {
		return err
	}
	const inside = "/run/u-boot-menu"
	const run = "PATH=" + inside + ":$PATH; for version in $(linux-version list); do " +
		`/etc/kernel/postinst.d/zz-u-boot-menu "$version"; done`
	return s.InTargetWith(ctx, []specs.Mount{target.Bind(dir, inside, "ro")}, "", "sh", "-ec", run)
}

// Write writes everything except the menu.
func (u UBoot) Write(f target.Files) error {
	if err := f.MkdirAll("/etc/kernel", 0o755); err != nil {
		return err
	}
	if err := WriteKernelArguments(f, u.Arguments); err != nil {
		return err
	}
	if err := u.writeDeviceTree(f); err != nil {
		return err
	}
	settings := u.settings()
	if settings == "" {
		return f.Remove(UBootSettings)
	}
	return target.WriteFileIn(f, UBootSettings, settings, 0o644)
}

// writeDeviceTree puts the user's device tree into /boot, or checks that each kernel has the one with the name.
func (u UBoot) writeDeviceTree(f target.Files) error {
	tree := u.DeviceTree
	if tree.Own() {
		data, err := os.ReadFile(tree.File)
		if err != nil {
			return err
		}
		return f.WriteFile("/boot/"+tree.Name, data, 0o644)
	}
	if tree.Name == "" {
		return nil
	}
	kernels, err := target.BootFiles(f, UBootKernelNames()...)
	if err != nil {
		return err
	}
	for _, kernel := range kernels {
		_, version, _ := strings.Cut(kernel, "-")
		name := KernelDeviceTrees(version) + "/" + tree.Name
		if exists, err := target.Exists(f, name); err != nil {
			return err
		} else if !exists {
			return fmt.Errorf("kernel %s has no device tree %s", version, name)
		}
	}
	return nil
}

// settings returns the settings of u-boot-menu that differ from its defaults. It takes a name with a slash at its
// beginning for a file of the root file system, and others for files of the kernel's package or, if that has none, of
// the partition /boot.
func (u UBoot) settings() string {
	name := u.DeviceTree.Name
	if u.DeviceTree.Own() && !u.SeparateBoot {
		name = "/boot/" + name
	}
	text := ""
	if name != "" {
		text += fmt.Sprintf("U_BOOT_FDT=%q\n", name)
	}
	if u.SeparateBoot && !u.DeviceTree.Own() {
		text += "U_BOOT_SYNC_DTBS=\"true\"\n" // U-Boot may not be able to read the root file system
	}
	if text == "" {
		return ""
	}
	return "# Written by vmdebootstrap.\n" + text
}
