// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// withGrub adds GRUB for BIOS of this machine, as its package has it.
func withGrub(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	for _, name := range []string{
		"boot.img", "diskboot.img", "kernel.img", "lzma_decompress.img", "moddep.lst", "normal.mod",
		"biosdisk.mod", "part_msdos.mod", "part_gpt.mod", "ext2.mod", "fshelp.mod", "search_fs_uuid.mod",
	} {
		files["usr/lib/grub/i386-pc/"+name] = fileOf(t, "/usr/lib/grub/i386-pc/"+name)
	}
	return files
}

func TestAssemblyConfiguresGrubWithoutRunningIt(t *testing.T) {
	t.Parallel()
	files := withGrub(t, bootable())
	files["boot/vmlinuz-6.10"], files["boot/initrd.img-6.10"] = "newer", "initrd"
	files["boot/grub/i386-pc/stale.mod"] = "of another version"
	files["etc/default/grub"] = "GRUB_DEFAULT=0\nGRUB_TIMEOUT=3\nGRUB_DISTRIBUTOR=`( . /etc/os-release && echo ${NAME} )`\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"
	files["etc/default/grub.d/site.cfg"] = "GRUB_CMDLINE_LINUX=\"mitigations=auto\" # why\nexport GRUB_CMDLINE_LINUX=\"${GRUB_CMDLINE_LINUX} net.ifnames=0\"\n"
	a := newAssembly(t, func(o *Options) { o.Boot, o.PartType, o.SerialConsole = boot.WordGRUB, "gpt", true })
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	texts := written(t, a, "boot/grub/grub.cfg", "boot/grub/grubenv", "boot/grub/i386-pc/normal.mod",
		"etc/default/grub")
	root := diskimage.DeriveID(uuid.Max, "/").String()
	for _, want := range []string{
		"set timeout=3\n", "serial --unit=0 --speed=115200", "terminal_input console serial\n",
		"insmod part_gpt\n\tinsmod ext2\n",
		"menuentry 'Debian GNU/Linux' --class", "search --no-floppy --fs-uuid --set=root " + root,
		"linux /boot/vmlinuz-6.10 root=UUID=" + root +
			" ro mitigations=auto net.ifnames=0 console=tty0 console=ttyS0,115200n8\n\tinitrd /boot/initrd.img-6.10\n",
		"with Linux 6.1 (recovery mode)'", "\t\tlinux /boot/vmlinuz-6.1 root=UUID=" + root +
			" ro mitigations=auto net.ifnames=0 single\n",
	} {
		if !strings.Contains(texts["boot/grub/grub.cfg"], want) {
			t.Errorf("grub.cfg has no %q:\n%s", want, texts["boot/grub/grub.cfg"])
		}
	}
	diskimagetest.Run(t, "sh", "-c", `printf %s "$1" > "$2/grub.cfg" && grub-script-check "$2/grub.cfg"`, "sh",
		texts["boot/grub/grub.cfg"], t.TempDir())
	if !strings.Contains(texts["etc/default/grub"], "console=ttyS0") {
		t.Errorf("/etc/default/grub, for later kernels: %s", texts["etc/default/grub"])
	}
	image, err := os.ReadFile(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(image, []byte("of another version")) || !bytes.Contains(image[:512], []byte("GRUB ")) {
		t.Error("the boot code is not there, or old modules are")
	}
}

func TestAssemblyRefusesSettingsThatAProgramComputes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"GRUB_CMDLINE_LINUX=\"$(cat /etc/args)\"\n": "--boot: /etc/default/grub of the root file system: GRUB_CMDLINE_LINUX: ",
		"GRUB_TIMEOUT=`echo 5`\n":                   "GRUB_TIMEOUT: ",
		"GRUB_CMDLINE_LINUX=\"${A:-b}\"\n":          "is a shell expansion",
	} {
		files := withGrub(t, bootable())
		files["etc/default/grub"] = text
		a := newAssembly(t, func(o *Options) { o.Boot = boot.WordGRUB })
		if err := a.Write(t.Context(), memoryTree(t, files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestAssemblyCopiesGrubToTheESP(t *testing.T) {
	t.Parallel()
	signed := map[string]string{
		"usr/lib/shim/shimx64.efi.signed": "shim", "usr/lib/shim/mmx64.efi.signed": "mm",
		"usr/lib/shim/fbx64.efi.signed": "fb", "usr/lib/shim/BOOTX64.CSV": "csv",
		"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grub",
	}
	monolith := map[string]string{"usr/lib/grub/x86_64-efi/monolithic/grubx64.efi": "unsigned"}
	uefi := func(o *Options) { o.Grub, o.UseUEFI = true, true }
	hybrid := func(o *Options) { o.Boot, o.PartType = boot.WordHybrid, "gpt" }
	for _, tt := range []struct {
		name   string
		change func(*Options)
		more   map[string]string
		first  string
		err    string
	}{
		{"signed", uefi, signed, "shim", ""},
		{"unsigned", uefi, monolith, "unsigned", ""},
		{"hybrid", hybrid, withGrub(t, maps.Clone(signed)), "shim", ""},
		{"hybrid without BIOS", hybrid, signed, "",
			"--boot: the root file system has no /usr/lib/grub/i386-pc/kernel.img: add the package grub-pc-bin"},
		{"none", uefi, nil, "",
			"--use-uefi: the root file system has no /usr/lib/grub/x86_64-efi/monolithic/grubx64.efi: add the package grub-efi-amd64-bin"},
	} {
		files := bootable()
		maps.Copy(files, tt.more)
		a := newAssembly(t, tt.change)
		err := a.Write(t.Context(), memoryTree(t, files))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		texts := written(t, a, "boot/efi/EFI/BOOT/BOOTX64.EFI", "boot/efi/EFI/debian/grub.cfg", "boot/grub/grub.cfg")
		root := diskimage.DeriveID(uuid.Max, "/").String()
		if texts["boot/efi/EFI/BOOT/BOOTX64.EFI"] != tt.first ||
			!strings.Contains(texts["boot/efi/EFI/debian/grub.cfg"], root) {
			t.Errorf("%s: got %q", tt.name, texts)
		}
	}
}
