// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// Configure implements Loader. It writes the files that step.GRUB makes with the target's programs: modules,
// environment and grub.cfg.
func (l GRUB) Configure(d Disk, f *target.Memory) (err error) {
	if err := removeRootArguments(f); err != nil {
		return err
	}
	setup := step.GRUB{Platforms: l.platforms(d), SerialDevice: d.Serial, Probe: ProbeAnswers(d)}
	if setup.Cloud, err = target.Exists(f, "/var/lib/dpkg/info/grub-cloud-amd64.list"); err != nil {
		return err
	}
	if err := setup.Defaults(f); err != nil {
		return err
	}
	if err := f.MkdirAll("/boot/grub", 0o755); err != nil {
		return err
	}
	for _, platform := range setup.Platforms {
		if err := copyGrubModules(f, platform); err != nil {
			return err
		}
	}
	if err := AnswerDebconf(f, l.Answers()); err != nil {
		return err
	}
	if err := f.WriteFile("/boot/grub/grubenv", grub.Environment(), 0o644); err != nil {
		return err
	}
	menu, err := l.menu(d, f)
	if err != nil {
		return err
	}
	if err := f.WriteFile("/boot/grub/grub.cfg", menu.Bytes(), 0o600); err != nil {
		return err
	}
	if !setup.Cloud {
		return nil
	}
	return target.WriteFileIn(f, step.CloudSwitch, "", 0o644)
}

// copyGrubModules copies the modules of a platform to where GRUB looks for them, if they are installed. The signed GRUB
// has all permitted modules built in.
func copyGrubModules(f *target.Memory, platform string) error {
	if exists, err := target.Exists(f, GRUBModules(platform)); err != nil || !exists {
		return err
	}
	to := "/boot/grub/" + platform
	if err := f.RemoveAll(to); err != nil {
		return err
	}
	if err := f.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := f.ReadDir(GRUBModules(platform))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext != ".mod" && ext != ".lst" {
			continue
		}
		data, err := f.ReadFile(path.Join(GRUBModules(platform), e.Name()))
		if err != nil {
			return err
		}
		if err := f.WriteFile(path.Join(to, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// menu returns the menu that update-grub would make, with the settings that matter for an image.
func (l GRUB) menu(d Disk, f *target.Memory) (grub.Menu, error) {
	settings, err := grubSettings(f)
	if err != nil {
		return grub.Menu{}, err
	}
	kernels, err := menuKernels(l, f)
	if err != nil {
		return grub.Menu{}, err
	}
	root := "root=" + DeviceName(d.Root()) + " ro"
	menu := grub.Menu{
		Title: string(d.Vendor) + " GNU/Linux", Boot: GRUBPlace(d), KernelDir: d.bootPrefix(), Timeout: 5,
		Modules: slices.DeleteFunc(grub.CoreModules("", d.Boot().Filesystem.Type),
			func(name string) bool { return name == "search_fs_uuid" }),
		Arguments:      strings.TrimSpace(root + " " + settings["GRUB_CMDLINE_LINUX"]),
		QuietArguments: settings["GRUB_CMDLINE_LINUX_DEFAULT"],
	}
	if seconds, err := strconv.Atoi(settings["GRUB_TIMEOUT"]); err == nil {
		menu.Timeout = seconds
	}
	if terminal := settings["GRUB_TERMINAL"]; strings.Contains(terminal, "serial") {
		menu.Terminal = []string{settings["GRUB_SERIAL_COMMAND"], "terminal_input " + terminal,
			"terminal_output " + terminal}
	}
	menu.Kernels = kernels
	return menu, nil
}

// menuKernels returns the kernels in /boot for a menu, the newest first.
func menuKernels(l Loader, f target.Files) ([]grub.MenuKernel, error) {
	kernels, err := Kernels(l, f)
	if err != nil {
		return nil, err
	}
	var entries []grub.MenuKernel
	for _, k := range kernels {
		entry := grub.MenuKernel{Version: k.Version, File: "vmlinuz-" + k.Version}
		if exists, err := target.Exists(f, "/boot/"+entry.File); err != nil {
			return nil, err
		} else if !exists {
			entry.File = "vmlinux-" + k.Version
		}
		if k.Initrd {
			entry.Initrd = "initrd.img-" + k.Version
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// neededSettings are the settings that the menu uses.
var neededSettings = []string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_TIMEOUT", "GRUB_TERMINAL",
	"GRUB_SERIAL_COMMAND"}

// grubSettings returns the settings of update-grub.
func grubSettings(f *target.Memory) (map[string]string, error) {
	return settingsFiles{File: step.GRUBDefaults, Dirs: []string{step.GRUBDefaultsDir}, Suffix: ".cfg", Prefix: "GRUB_",
		Needed: neededSettings}.read(f)
}
