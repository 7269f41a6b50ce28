// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// MachineID makes the first start of each copy a first boot for systemd, which then starts units with
// ConditionFirstBoot=yes; it does not where /etc/machine-id is empty, see machine-id(5). What else systemd does at a
// first boot is prevented: it applies presets to all units, which would enable those that the build has disabled, and
// asks for settings at the console. A machine-id that a hook has emptied, removed or made "uninitialized" is left as it
// is.
type MachineID struct {
	base
	// Ignore reports whether systemd.preset(5) of the release has the directive ignore.
	Ignore bool `json:",omitempty"`
}

func (MachineID) Kind() string { return "machine-id" }

func (MachineID) Title() string { return "let each copy make its own machine ID" }

// Files that MachineID writes. They are removed when the machine ID is on disk: no other boot is the first one then,
// and presets are applied to units of packages that are installed later.
const (
	FirstBootPreset = "/etc/systemd/system-preset/00-first-boot.preset"
	FirstBootEnd    = systemUnits + "systemd-machine-id-commit.service.d/first-boot.conf"
)

// firstBootUnit is a unit of systemd since it knows uninitialized (247).
const firstBootUnit = "first-boot-complete.target"

// firstBootQuestions are the units that ask at the console during a first boot, and nothing else.
var firstBootQuestions = []string{"systemd-firstboot.service", "systemd-homed-firstboot.service"}

// unitDirs are the directories of units of packages and of the system, see systemd.unit(5).
var unitDirs = []string{"/lib/systemd/system", "/usr/lib/systemd/system", "/usr/local/lib/systemd/system", systemUnits}

// unitTypes are the suffixes of units that can be enabled.
var unitTypes = []string{".automount", ".mount", ".path", ".service", ".slice", ".socket", ".swap", ".target", ".timer"}

func (m MachineID) Run(_ context.Context, s *Context) error {
	id, err := s.Target.ReadFile(machineIDName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (len(id) == 0 || string(id) == uninitialized) {
		return nil
	}
	if err != nil {
		return err
	}
	units, err := unitNames(s.Target)
	if err != nil || !slices.Contains(units, firstBootUnit) {
		return err
	}
	remove := []string{FirstBootPreset, FirstBootEnd}
	for _, unit := range firstBootQuestions {
		mask := systemUnits + unit
		switch there, err := target.Exists(s.Target, mask); {
		case err != nil:
			return err
		case there || !slices.Contains(units, unit):
			continue
		}
		if err := s.Target.Symlink("/dev/null", mask); err != nil {
			return err
		}
		remove = append(remove, mask)
	}
	if err := target.WriteFileIn(s.Target, FirstBootPreset, m.preset(units), 0o644); err != nil {
		return err
	}
	end := "# Written by vmdebootstrap for the first boot.\n[Service]\nExecStartPost=/bin/rm -f " +
		strings.Join(remove, " ") + "\nExecStartPost=/bin/rmdir --ignore-fail-on-non-empty " +
		path.Dir(FirstBootPreset) + " " + path.Dir(FirstBootEnd) + "\n"
	if err := target.WriteFileIn(s.Target, FirstBootEnd, end, 0o644); err != nil {
		return err
	}
	return s.Target.WriteFile(machineIDName, []byte(uninitialized), 0o444)
}

// preset returns presets that leave the units as the build has left them. Those of other names, which a program may
// add to the image before it is started, are enabled as Debian's are.
func (m MachineID) preset(units []string) string {
	// At a first boot, Debian's systemd only enables. Since "ignore" is known, it could be built to disable as well.
	directive := "disable "
	if m.Ignore {
		directive = "ignore "
	}
	return "# Written by vmdebootstrap for the first boot: units stay enabled or disabled as they are.\n" +
		directive + strings.Join(units, "\n"+directive) + "\n"
}

// unitNames returns the names of all units of the system, sorted.
func unitNames(t target.Target) ([]string, error) {
	var names []string
	for _, dir := range unitDirs {
		entries, err := t.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if slices.Contains(unitTypes, path.Ext(e.Name())) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
