// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
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

// grubSettings reads the settings of update-grub from shell scripts with assignments.
func grubSettings(f *target.Memory) (map[string]string, error) {
	names := []string{step.GRUBDefaults}
	entries, err := f.ReadDir(step.GRUBDefaultsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if path.Ext(e.Name()) == ".cfg" {
			names = append(names, path.Join(step.GRUBDefaultsDir, e.Name()))
		}
	}
	settings := map[string]string{}
	for _, name := range names {
		text, err := f.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := assignments(string(text), settings); err != nil {
			return nil, &problem.Problem{Flag: "--boot", Err: fmt.Errorf("%s of the root file system: %w", name, err)}
		}
	}
	return settings, nil
}

// assignments reads lines NAME=VALUE of a shell script into settings. Values may contain variables. A value that a
// program computes is an error if the menu needs it.
func assignments(text string, settings map[string]string) error {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok || !strings.HasPrefix(name, "GRUB_") || strings.ContainsAny(name, " \t#") {
			continue
		}
		literal := strings.HasPrefix(value, "'")
		quote := `"`
		if literal {
			quote = "'"
		}
		if rest, quoted := strings.CutPrefix(value, quote); quoted {
			value, _, _ = strings.Cut(rest, quote)
		} else {
			value, _, _ = strings.Cut(value, " ")
		}
		if !literal && strings.ContainsAny(value, "`$\\") {
			var err error
			if value, err = substitute(value, settings); err != nil && slices.Contains(neededSettings, name) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		settings[name] = value
	}
	return nil
}

// neededSettings are the settings that the menu uses.
var neededSettings = []string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_TIMEOUT", "GRUB_TERMINAL",
	"GRUB_SERIAL_COMMAND"}

// substitute replaces the variables $NAME and ${NAME} with their values.
func substitute(value string, settings map[string]string) (string, error) {
	if strings.ContainsAny(value, "`\\") || strings.Contains(value, "$(") {
		return "", fmt.Errorf("%q is computed by a program, which is not run: write the value itself", value)
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(value, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after := "", ""
		if braced, ok := strings.CutPrefix(rest, "{"); ok {
			if name, after, ok = strings.Cut(braced, "}"); !ok || strings.Trim(name, letters) != "" {
				return "", fmt.Errorf("%q is a shell expansion, which is not supported: write the value itself", value)
			}
		} else {
			after = strings.TrimLeft(rest, letters)
			name = strings.TrimSuffix(rest, after)
		}
		b.WriteString(settings[name])
		value = after
	}
}

// letters are the characters in names of variables.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
