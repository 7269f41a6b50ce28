// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// deviceTreeIn writes a device tree to a directory of the test, and returns its name.
func deviceTreeIn(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "own.dtb")
	if err := os.WriteFile(name, []byte(deviceTreeMagic+"tree"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// ubootDisk returns the plan of a disk that U-Boot starts.
func ubootDisk(t *testing.T, bootsize diskimage.Size) boot.Disk {
	t.Helper()
	return testPlan(t, func(o *Options) {
		o.Arch, o.Distribution, o.Boot, o.SerialConsole = "riscv64", "trixie", boot.WordUBoot, true
		o.Bootsize = bootsize
	}).Disk.Disk
}

// A system that is assembled and not built has the menu that u-boot-update would write there: the golden files are from
// that program (testdata/u-boot-menu/update).
func TestUBootMenuIsThatOfUBootUpdate(t *testing.T) {
	t.Parallel()
	own := deviceTreeIn(t)
	settings := "#U_BOOT_PROMPT=\"1\"\nU_BOOT_PARAMETERS=\"rw quiet\"\nU_BOOT_ENTRIES=1\nU_BOOT_PROMPT=0\n" +
		"U_BOOT_MENU_LABEL=\"My board\"\nU_BOOT_FDT_DIR=/nowhere-\n"
	for _, tt := range []struct {
		name   string
		tree   step.DeviceTree
		files  map[string]string
		absent string
	}{
		{"root", step.DeviceTree{}, nil, "etc/u-boot-menu/conf.d/vmdebootstrap.conf"},
		{"root-name", step.DeviceTree{Name: "sifive/board.dtb"}, nil, "boot/dtbs"},
		{"root-file", step.DeviceTree{Name: "own.dtb", File: own}, nil, "boot/dtbs"},
		{"root-settings", step.DeviceTree{}, map[string]string{"etc/default/u-boot": settings}, "boot/dtbs"},
		{"boot", step.DeviceTree{}, nil, "boot/own.dtb"},
		{"boot-name", step.DeviceTree{Name: "sifive/board.dtb"}, nil, "boot/own.dtb"},
		{"boot-file", step.DeviceTree{Name: "own.dtb", File: own}, nil, "boot/dtbs"},
	} {
		separate := strings.HasPrefix(tt.name, "boot")
		files := map[string]string{
			"etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", "boot/initrd.img-6.12.2-riscv64": "",
			"etc/kernel/cmdline": "root=/dev/old\n",
		}
		for name, text := range tt.files {
			files[name] = text
		}
		for _, version := range []string{"6.12.1-riscv64", "6.12.2-riscv64"} {
			files["boot/vmlinux-"+version] = "kernel"
			files["usr/lib/linux-image-"+version+"/sifive/board.dtb"] = deviceTreeMagic
		}
		f, err := target.NewMemory(memoryTree(t, files), treeTime)
		if err != nil {
			t.Fatal(err)
		}
		disk := ubootDisk(t, 0)
		if separate {
			disk = ubootDisk(t, 200*diskimage.MiB)
		}
		disk.DeviceTree = tt.tree
		if err := (boot.UBoot{}).Configure(disk, f); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		golden, err := os.ReadFile("testdata/u-boot-menu/" + tt.name + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(string(golden), "UUID=11111111-2222-3333-4444-555555555555", boot.DeviceName(disk.Root()))
		if got, err := f.ReadFile(step.UBootMenu); err != nil || string(got) != want {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", tt.name, err, got, want)
		}
		if exists, err := target.Exists(f, "/"+tt.absent); err != nil || exists {
			t.Errorf("%s: %v: %s is there", tt.name, err, tt.absent)
		}
		copied, err := target.Exists(f, "/boot/dtbs/6.12.1-riscv64/sifive/board.dtb")
		if wanted := separate && !tt.tree.Own(); err != nil || copied != wanted {
			t.Errorf("%s: %v: device trees are copied: %t, want %t", tt.name, err, copied, wanted)
		}
	}
}

func TestUBootMenuRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	disk := ubootDisk(t, 0)
	for _, tt := range []struct{ file, text, tree, want string }{
		{"boot/dtbo/x.dtbo", "", "", "overlays"},
		{"etc/default/u-boot", "U_BOOT_FDT_OVERLAYS=x.dtbo\n", "", "overlays"},
		{"etc/u-boot-menu/conf.d/x.conf", "U_BOOT_PROMPT=$(date)\n", "", "computed by a program"},
		{"etc/issue", "", "sifive/no.dtb", "kernel 6.1 has no device tree /usr/lib/linux-image-6.1/sifive/no.dtb"},
	} {
		f, err := target.NewMemory(memoryTree(t, map[string]string{"boot/vmlinux-6.1": "", tt.file: tt.text}), treeTime)
		if err != nil {
			t.Fatal(err)
		}
		disk.DeviceTree.Name = tt.tree
		if err := (boot.UBoot{}).Configure(disk, f); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.file, err, tt.want)
		}
	}
}

// The menu of a user who has switched u-boot-update off stays.
func TestUBootMenuOfTheUserStays(t *testing.T) {
	t.Parallel()
	disk := ubootDisk(t, 0)
	f, err := target.NewMemory(memoryTree(t, map[string]string{"etc/default/u-boot": "U_BOOT_UPDATE=\"false\"\n",
		"boot/extlinux/extlinux.conf": "mine"}), treeTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := (boot.UBoot{}).Configure(disk, f); err != nil {
		t.Fatal(err)
	}
	if text, err := f.ReadFile(step.UBootMenu); string(text) != "mine" {
		t.Errorf("%v: got %q", err, text)
	}
}

func TestUBootStepRunsTheTargetsUBootUpdate(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/boot/": "", "/etc/": ""})
	if err := runStep(t, f, step.UBoot{Arguments: "root=UUID=x ro"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"u-boot-update"}; !slices.Equal(f.Transcript, want) {
		t.Errorf("got %q, want %q", f.Transcript, want)
	}
	if got := f.Readable("/etc/kernel/cmdline"); got != "root=UUID=x ro\n" {
		t.Errorf("/etc/kernel/cmdline: %q", got)
	}
	if got := f.Readable(step.UBootSettings); got != "(absent)" {
		t.Errorf("%s: %q", step.UBootSettings, got)
	}

	f = targettest.New(t, map[string]string{"/boot/": "", "/etc/": "", "/boot/vmlinuz-6.1": "",
		"/usr/lib/linux-image-6.1/a/b.dtb": ""})
	if err := runStep(t, f, step.UBoot{SeparateBoot: true, DeviceTree: step.DeviceTree{Name: "a/b.dtb"}}); err != nil {
		t.Fatal(err)
	}
	if len(f.Transcript) != 1 || !strings.Contains(f.Transcript[0], `zz-u-boot-menu "$version"`) {
		t.Errorf("got %q", f.Transcript)
	}
	const want = "# Written by vmdebootstrap.\nU_BOOT_FDT=\"a/b.dtb\"\nU_BOOT_SYNC_DTBS=\"true\"\n"
	if got := f.Readable(step.UBootSettings); got != want {
		t.Errorf("%s: got %q, want %q", step.UBootSettings, got, want)
	}
}

// U-Boot looks for its menu on the partitions that are marked, and on the first one only if none is.
func TestUBootsPartitionIsMarked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		table    string
		bootsize diskimage.Size
		role     diskimage.Role
		flag     string
	}{
		{"msdos", 0, diskimage.RoleRoot, "boot"},
		{"msdos", 200 * diskimage.MiB, diskimage.RoleBoot, "boot"},
		{"gpt", 0, diskimage.RoleRoot, "legacy_boot"},
		{"gpt", 200 * diskimage.MiB, diskimage.RoleBoot, "legacy_boot"},
	} {
		disk := testPlan(t, func(o *Options) {
			o.Arch, o.Distribution, o.Boot, o.PartType, o.Bootsize = "armhf", "trixie", boot.WordUBoot, tt.table, tt.bootsize
		}).Disk
		for _, p := range disk.Request.Partitions {
			if got, want := slices.Contains(p.Flags, tt.flag), p.Role == tt.role; got != want {
				t.Errorf("%s with /boot of %s: %s of %s: got %t, want %t", tt.table, tt.bootsize, tt.flag, p.Role, got, want)
			}
		}
	}
}

// The architecture is known only when the root file system is read; a PC was assumed until then.
func TestAssemblyForUBootNeedsNoArchitecture(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordUBoot })
	if err := a.Check(); err != nil {
		t.Error(err)
	}
	files := bootable()
	files["var/lib/dpkg/status"] = strings.Replace(files["var/lib/dpkg/status"], "amd64", "riscv64", 1)
	err := a.Write(t.Context(), memoryTree(t, files))
	if err == nil || !strings.Contains(err.Error(), "has no /usr/sbin/u-boot-update: add the package u-boot-menu") {
		t.Errorf("got %v", err)
	}
}
