// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

func TestGrubStepSetsUpEachPlatformOnce(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/etc/default/grub": "GRUB_TIMEOUT=5\n", "/boot/": "", "/usr/sbin/": "",
		"/usr/bin/": ""})
	setup := step.GRUB{Platforms: []string{"x86_64-efi", "i386-efi"}, SerialDevice: "ttyS0",
		Probe: grub.ProbeAnswers{Table: diskimage.GPT}}
	if err := runStep(t, f, setup); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"sh -c cp /usr/lib/grub/x86_64-efi/*.mod /usr/lib/grub/x86_64-efi/*.lst /boot/grub/x86_64-efi/",
		"sh -c cp /usr/lib/grub/i386-efi/*.mod /usr/lib/grub/i386-efi/*.lst /boot/grub/i386-efi/",
		"update-grub",
	}
	got := slices.DeleteFunc(f.Transcript, func(line string) bool { return strings.Contains(line, "dpkg-divert") })
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	text := f.Readable("/etc/default/grub")
	if !strings.HasPrefix(text, "GRUB_TIMEOUT=5\n") || strings.Count(text, "console=ttyS0,115200n8") != 1 {
		t.Errorf("/etc/default/grub: %q", text)
	}
	if got := f.Readable(step.CloudSwitch); got != "(absent)" {
		t.Errorf("%s is there", step.CloudSwitch)
	}
}

// Issue 19, 8: GRUB for arm64 and riscv64 printed errors before its menu, since it knows only the serial ports of PCs.
func TestGrubUsesTheSerialPortOfPCsOnly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		platform, device string
		want             bool
	}{{"i386-pc", "ttyS0", true}, {"x86_64-efi", "ttyS0", true}, {"arm64-efi", "ttyAMA0", false},
		{"riscv64-efi", "ttyS0", false}} {
		f := targettest.New(t, map[string]string{"/etc/default/grub": "", "/boot/grub/": "", "/usr/sbin/": "",
			"/usr/bin/": ""})
		if err := runStep(t, f, step.GRUB{Platforms: []string{tt.platform}, SerialDevice: tt.device}); err != nil {
			t.Fatal(err)
		}
		text := f.Readable("/etc/default/grub")
		if !strings.Contains(text, "console="+tt.device) || strings.Contains(text, "GRUB_TERMINAL") != tt.want {
			t.Errorf("%s: /etc/default/grub: %q", tt.platform, text)
		}
	}
}

// The file had the package's setting, and below it ours: people changed the first one, and nothing happened.
func TestSerialConsoleChangesGrubsSettingsInPlace(t *testing.T) {
	t.Parallel()
	const before = "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n#GRUB_TERMINAL=console\n"
	f := targettest.New(t, map[string]string{"/etc/default/grub": before})
	setup := step.GRUB{Platforms: []string{grub.BIOSPlatform}, SerialDevice: "ttyS0"}
	if err := setup.Defaults(f); err != nil {
		t.Fatal(err)
	}
	const want = "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"console=tty0 console=ttyS0,115200n8\"\n" +
		"GRUB_CMDLINE_LINUX=\"\"\n#GRUB_TERMINAL=console\n\n# Set by vmdebootstrap --serial-console.\n" +
		"GRUB_TERMINAL=\"console serial\"\n" +
		"GRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1\"\n"
	if got := f.Readable("/etc/default/grub"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestGrubStepLeavesTheCloudPackagesSettingsAlone: a changed configuration file would stop its upgrades, and with the
// switch on, the package would look for a disk while the image is built.
func TestGrubStepLeavesTheCloudPackagesSettingsAlone(t *testing.T) {
	t.Parallel()
	const theirs = "GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n"
	f := targettest.New(t, map[string]string{"/etc/default/grub": theirs, "/etc/grub.d/": "", "/boot/": "",
		"/usr/sbin/": "", "/usr/bin/": ""})
	f.On = func(args []string, _ io.Writer) error {
		if there, err := target.Exists(f, step.CloudSwitch); there || err != nil {
			return errors.New("the switch is on too early")
		}
		return nil
	}
	setup := step.GRUB{Platforms: []string{"i386-pc", "x86_64-efi"}, Cloud: true,
		Probe: grub.ProbeAnswers{Table: diskimage.GPT}}
	if err := runStep(t, f, setup); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/etc/default/grub"); got != theirs {
		t.Errorf("/etc/default/grub: %q", got)
	}
	if got := f.Readable("/etc/default/grub.d/vmdebootstrap.cfg"); !strings.Contains(got,
		"GRUB_CMDLINE_LINUX=\"\"\n") || strings.Contains(got, "ttyS0") {
		t.Errorf("our settings: %q", got)
	}
	if got := f.Readable(step.CloudSwitch); got != "" {
		t.Errorf("%s: %q", step.CloudSwitch, got)
	}
	setup.SerialDevice = "ttyS0"
	f = targettest.New(t, map[string]string{"/etc/grub.d/": "", "/boot/": "",
		"/usr/sbin/": "", "/usr/bin/": ""})
	if err := runStep(t, f, setup); err != nil {
		t.Error(err)
	}
	if got := f.Readable("/etc/default/grub.d/vmdebootstrap.cfg"); strings.Count(got, "\nGRUB_CMDLINE_LINUX_DEFAULT=") !=
		1 || strings.Count(got, "\nGRUB_TERMINAL=") != 1 || !strings.Contains(got, "console=ttyS0,115200n8") {
		t.Errorf("our settings with a serial console: %q", got)
	}
}

// grubDisk is the plan of a disk for the options of a test.
func grubDisk(t *testing.T, change func(*Options)) *Disk {
	t.Helper()
	return testPlan(t, change).Disk
}

// grubResult is a finished target that holds the files of the packages, empty, and whose grub-mkimage makes something.
func grubResult(t *testing.T, files map[string]string) (*Result, *targettest.Target) {
	t.Helper()
	f := targettest.New(t, files)
	tmp := t.TempDir()
	f.On = func(args []string, _ io.Writer) error {
		if args[0] != "grub-mkimage" {
			return nil
		}
		dirs, err := filepath.Glob(filepath.Join(tmp, "grub-mkimage-*"))
		if err != nil || len(dirs) != 1 {
			t.Errorf("directories for grub-mkimage: %q (%v)", dirs, err)
			return err
		}
		return os.WriteFile(filepath.Join(dirs[0], "core.img"), []byte(strings.Join(args, " ")), 0o644)
	}
	return &Result{x: &Executor{}, Rootfs: f,
		site: &step.Context{Target: f, Tmp: tmp, Log: slog.New(slog.DiscardHandler), Out: step.NewTail(nil)}}, f
}

// TestESPHoldsWhatFirmwareStarts holds the files of the EFI system partition for each architecture that has UEFI.
func TestESPHoldsWhatFirmwareStarts(t *testing.T) {
	t.Parallel()
	signed := func(platform, suffix, csv string) map[string]string {
		return map[string]string{
			"/usr/lib/shim/shim" + suffix + ".efi.signed": "", "/usr/lib/shim/mm" + suffix + ".efi.signed": "",
			"/usr/lib/shim/fb" + suffix + ".efi.signed": "", "/usr/lib/shim/" + csv: "",
			"/usr/lib/grub/" + platform + "-signed/grub" + suffix + ".efi.signed": "",
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		files  map[string]string
		want   string
	}{
		{"amd64", func(o *Options) { o.Grub, o.UseUEFI = true, true }, signed("x86_64-efi", "x64", "BOOTX64.CSV"),
			"EFI/BOOT/BOOTIA32.EFI EFI/BOOT/BOOTX64.EFI EFI/BOOT/grub.cfg EFI/BOOT/grubx64.efi EFI/BOOT/mmx64.efi EFI/debian/BOOTX64.CSV " +
				"EFI/debian/fbx64.efi EFI/debian/grub.cfg EFI/debian/grubia32.efi EFI/debian/grubx64.efi EFI/debian/mmx64.efi EFI/debian/shimx64.efi"},
		{"i386", func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.Distribution = true, true, "i386", "bookworm" },
			signed("i386-efi", "ia32", "BOOTIA32.CSV"),
			"EFI/BOOT/BOOTIA32.EFI EFI/BOOT/grub.cfg EFI/BOOT/grubia32.efi EFI/BOOT/mmia32.efi EFI/debian/BOOTIA32.CSV " +
				"EFI/debian/fbia32.efi EFI/debian/grub.cfg EFI/debian/grubia32.efi EFI/debian/mmia32.efi EFI/debian/shimia32.efi"},
		{"arm64", func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "arm64" },
			signed("arm64-efi", "aa64", "BOOTAA64.CSV"),
			"EFI/BOOT/BOOTAA64.EFI EFI/BOOT/grub.cfg EFI/BOOT/grubaa64.efi EFI/BOOT/mmaa64.efi EFI/debian/BOOTAA64.CSV " +
				"EFI/debian/fbaa64.efi EFI/debian/grub.cfg EFI/debian/grubaa64.efi EFI/debian/mmaa64.efi EFI/debian/shimaa64.efi"},
		{"armhf", func(o *Options) { o.Boot, o.UseUEFI, o.Arch = "grub", true, "armhf" }, nil,
			"EFI/BOOT/BOOTARM.EFI EFI/BOOT/grub.cfg EFI/debian/grub.cfg EFI/debian/grubarm.efi"},
		{"riscv64", func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "riscv64" }, nil,
			"EFI/BOOT/BOOTRISCV64.EFI EFI/BOOT/grub.cfg EFI/debian/grub.cfg EFI/debian/grubriscv64.efi"},
		{"stretch", func(o *Options) { o.Grub, o.UseUEFI, o.Distribution = true, true, "stretch" }, nil,
			"EFI/BOOT/BOOTIA32.EFI EFI/BOOT/BOOTX64.EFI EFI/BOOT/grub.cfg EFI/debian/grub.cfg EFI/debian/grubia32.efi EFI/debian/grubx64.efi"},
		{"Ubuntu", func(o *Options) { o.Grub, o.UseUEFI, o.Distribution = true, true, "noble" }, nil,
			"EFI/BOOT/BOOTIA32.EFI EFI/BOOT/BOOTX64.EFI EFI/BOOT/grub.cfg EFI/ubuntu/grub.cfg EFI/ubuntu/grubia32.efi EFI/ubuntu/grubx64.efi"},
	} {
		d := grubDisk(t, tt.change)
		r, f := grubResult(t, tt.files)
		parts, err := d.Loader.Prepare(t.Context(), d.Disk, r.assembler())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		esp, _ := d.Layout.Partition(diskimage.RoleESP)
		var names []string
		for _, e := range parts.Files[esp.Number] {
			names = append(names, e.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		for _, line := range f.Transcript {
			if !strings.Contains(line, " -p (,msdos2)/boot/grub ") {
				t.Errorf("%s: %s", tt.name, line)
			}
		}
		if parts.Patches != nil {
			t.Errorf("%s: boot code for a BIOS", tt.name)
		}
	}
}

// TestMissingBootLoaderIsNamed: a hook may have removed its packages.
func TestMissingBootLoaderIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Grub = true }, "grub-pc-bin"},
		{func(o *Options) { o.Grub, o.UseUEFI = true, true }, "shim-signed"},
	} {
		r, _ := grubResult(t, nil)
		d := grubDisk(t, tt.change)
		_, err := d.Loader.Prepare(t.Context(), d.Disk, r.assembler())
		if err == nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want the package %s", err, tt.want)
		}
	}
}

// A hook that ran update-grub failed: grub-probe looked for the device of the overlay that the target is in.
func TestHooksGetTheAnswersOfGrubProbe(t *testing.T) {
	t.Parallel()
	const probe = "/usr/sbin/grub-probe"
	for _, tt := range []struct {
		loader string
		change func(*Options)
		want   bool
	}{
		{"GRUB", func(o *Options) { o.Grub, o.Bootsize = true, 200*diskimage.MiB }, true},
		{"extlinux", func(*Options) {}, false},
	} {
		plan := testPlan(t, func(o *Options) {
			tt.change(o)
			o.Actions = []Action{Script("/hooks/customize"), {Phase: hooks.PhaseCustomize, Kind: ActionCommand,
				Command: secret.New("update-grub")}}
		})
		for _, s := range plan.Steps {
			if s.Kind() != (step.Hook{}).Kind() && s.Kind() != (step.Command{}).Kind() {
				continue
			}
			f := targettest.New(t, map[string]string{"/usr/sbin/": "", "/usr/bin/": ""})
			during := "(never ran)"
			run := func(args []string, _ io.Writer) error {
				if !strings.Contains(strings.Join(args, " "), "dpkg-divert") {
					during = f.Readable(probe)
					if _, err := f.Lstat("/boot/grub"); (err == nil) != tt.want {
						t.Errorf("%s: /boot/grub: %v", tt.loader, err)
					}
				}
				return nil
			}
			toolbox := targettest.New(t, nil)
			f.On, toolbox.On = run, run
			if err := s.Run(t.Context(), &step.Context{Target: f, FreshToolbox: targettest.Always(toolbox),
				Tmp: t.TempDir(), Out: step.NewTail(nil)}); err != nil {
				t.Errorf("%s, %s: %v", tt.loader, s.Kind(), err)
				continue
			}
			diverted := slices.ContainsFunc(f.Transcript, func(line string) bool { return strings.Contains(line, probe) })
			if got := strings.Contains(during, boot.UUID(plan.Disk.Root().Filesystem)); got != tt.want || diverted != tt.want {
				t.Errorf("%s, %s: diverted %t, grub-probe was %q", tt.loader, s.Kind(), diverted, during)
			}
		}
	}
}
