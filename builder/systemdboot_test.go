// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestSystemdBootStepTellsKernelInstall(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/etc/": ""})
	if err := runStep(t, f, step.SystemdBoot{EntryToken: "debian", Arguments: "root=UUID=x ro"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/etc/kernel/cmdline":      "root=UUID=x ro\n",
		"/etc/kernel/entry-token":  "debian\n",
		"/etc/kernel/install.conf": "layout=uki\nuki_generator=ukify\n",
	} {
		if got := f.Readable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Programs of armhf have 32 bits, unlike those of the other architectures: GRUB for i386 stands in for them.
func TestSystemdBootIsInstalledForEachArchitecture(t *testing.T) {
	t.Parallel()
	const dir = "/usr/lib/systemd/boot/efi/"
	const stub64, program32 = dir + "linuxx64.efi.stub", "/usr/lib/grub/i386-efi/monolithic/grubia32.efi"
	for _, tt := range []struct{ arch, suffix, program, kernel, removable string }{
		{"amd64", "x64", stub64, "vmlinuz-6.1", "EFI/BOOT/BOOTX64.EFI"},
		{"armhf", "arm", program32, "vmlinuz-6.1", "EFI/BOOT/BOOTARM.EFI"},
		{"riscv64", "riscv64", stub64, "vmlinux-6.1", "EFI/BOOT/BOOTRISCV64.EFI"},
	} {
		d := grubDisk(t, func(o *Options) { o.Boot, o.PartType, o.Arch = "systemd-boot", "gpt", tt.arch })
		program := fileOf(t, tt.program)
		r, _ := grubResult(t, map[string]string{
			dir + "systemd-boot" + tt.suffix + ".efi": "loader", dir + "linux" + tt.suffix + ".efi.stub": program,
			"/boot/" + tt.kernel: program, "/boot/initrd.img-6.1": "initrd", step.KernelArgumentsFile: "root=UUID=x ro\n",
			"/usr/lib/os-release": "ID=debian\n",
		})
		parts, err := d.Loader.Prepare(t.Context(), d.Disk, r.assembler())
		if err != nil {
			t.Errorf("%s: %v", tt.arch, err)
			continue
		}
		esp, _ := d.Layout.Partition(diskimage.RoleESP)
		files := map[string]string{}
		for _, e := range parts.Files[esp.Number] {
			content, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(io.NewSectionReader(content, 0, e.Size))
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name] = string(data)
		}
		const image = "EFI/Linux/debian-6.1.efi"
		installed := "EFI/systemd/systemd-boot" + tt.suffix + ".efi"
		want := []string{tt.removable, image, installed, "loader/loader.conf"}
		if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", tt.arch, got, want)
		}
		if files[tt.removable] != "loader" || files[installed] != "loader" {
			t.Errorf("%s: systemd-boot is not what starts", tt.arch)
		}
		if got := kernelCommandLine(t, []byte(files[image])); got != "root=UUID=x ro" {
			t.Errorf("%s: the command line is %q", tt.arch, got)
		}
	}
}
