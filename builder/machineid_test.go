// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// Issue 14, 1: an empty machine-id is no first boot.
func TestMachineIDIsMadeAtTheFirstBoot(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef\n"
	const dir = "/usr/lib/systemd/system/"
	for name, tt := range map[string]struct {
		id       string
		withUnit bool
		want     string
	}{
		"of the build":            {id, true, "uninitialized\n"},
		"of a systemd before 247": {id, false, ""},
		"emptied by a hook":       {"", true, ""},
		"a first boot by a hook":  {"uninitialized\n", true, "uninitialized\n"},
		"removed by a hook":       {"(absent)", true, "(absent)"},
	} {
		files := map[string]string{dir + "on.service": "", dir + "systemd-firstboot.service": "", "/etc/systemd/system/": ""}
		if tt.withUnit {
			files[dir+"first-boot-complete.target"] = ""
		}
		if tt.id != "(absent)" {
			files["/etc/machine-id"] = tt.id
		}
		f := targettest.New(t, files)
		for _, s := range []step.Step{step.MachineID{}, step.Clean{}} {
			if err := runStep(t, f, s); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.Readable("/etc/machine-id"); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		ours := tt.want != tt.id && tt.want != ""
		if got := f.Readable(step.FirstBootPreset) != "(absent)"; got != ours {
			t.Errorf("%s: presets were written: %v", name, got)
		}
		if got := f.Readable("/etc/systemd/system/systemd-firstboot.service") == "-> /dev/null"; got != ours {
			t.Errorf("%s: the questions are masked: %v", name, got)
		}
	}
}

// What masks questions at the first boot is removed behind it, but not what a hook has put there.
func TestFirstBootLeavesFilesOfHooks(t *testing.T) {
	t.Parallel()
	const own = "/etc/systemd/system/systemd-firstboot.service"
	f := targettest.New(t, map[string]string{
		"/etc/machine-id": "0123", "/lib/systemd/system/first-boot-complete.target": "",
		"/lib/systemd/system/systemd-homed-firstboot.service": "", own: "mine",
	})
	if err := runStep(t, f, step.MachineID{}); err != nil {
		t.Fatal(err)
	}
	end := f.Readable(step.FirstBootEnd)
	if got := f.Readable(own); got != "mine" || strings.Contains(end, own) {
		t.Errorf("a hook's unit is %q and removed by %q", got, end)
	}
	for _, name := range []string{"/etc/systemd/system/systemd-homed-firstboot.service", step.FirstBootPreset,
		step.FirstBootEnd} {
		if got := f.Readable(name); got == "(absent)" || !strings.Contains(end, " "+name) {
			t.Errorf("%s is %q and not removed by %q", name, got, end)
		}
	}
}

// systemctl does here what systemd does at a first boot.
func TestPresetsOfAFirstBootChangeNothing(t *testing.T) {
	t.Parallel()
	const dir = "/usr/lib/systemd/system/"
	const unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
	f := targettest.New(t, map[string]string{
		"/etc/machine-id": "0123", dir + "first-boot-complete.target": "", dir + "off.service": unit,
		dir + "off@.service": unit + "DefaultInstance=one\n", "/etc/systemd/system/dev-by\\x2duuid.mount": unit,
		dir + "off.timer": unit, "/etc/systemd/system/multi-user.target.wants/": "",
		"/usr/lib/systemd/system-preset/90-systemd.preset": "enable off.service\n",
	})
	if err := runStep(t, f, step.MachineID{}); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile(dir+"later.service", []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "systemctl", "--root", f.Dir, "preset-all", "--preset-mode=enable-only")
	entries, err := f.ReadDir("/etc/systemd/system/multi-user.target.wants")
	if err != nil || len(entries) != 1 || entries[0].Name() != "later.service" {
		t.Errorf("got %v, %v, want the unit that came after the build", entries, err)
	}
}
