// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// liveFiles are those of a root file system that a medium needs, with the GRUB of this machine.
func liveFiles(t *testing.T) map[string]string {
	t.Helper()
	files := bootable()
	files["boot/vmlinuz-6.12"], files["boot/initrd.img-6.12"] = "new kernel", "new initrd"
	modules, err := filepath.Glob(diskimagetest.File(t, boot.GRUBModules(grub.BIOSPlatform)) + "/*.[mil][oms][dgt]")
	if err != nil || len(modules) == 0 {
		t.Fatalf("no modules of GRUB: %v", err)
	}
	for _, name := range modules {
		files[strings.TrimPrefix(name, "/")] = fileOf(t, name)
	}
	signed, err := grub.EFISignedFiles("x86_64-efi", "debian")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range signed {
		files[f.From] = "signed " + f.From
	}
	return files
}

// TestMediumHoldsTheSystemAndItsBootLoader writes the same medium twice.
func TestMediumHoldsTheSystemAndItsBootLoader(t *testing.T) {
	t.Parallel()
	spec := testSpec(t, func(o *Options) {
		o.Image, o.ISO, o.ISOPersistence, o.SerialConsole = "", "/out/live.iso", true, true
	})
	iso, dir := newISO(spec, testLock()), t.TempDir()
	squashfs := filepath.Join(dir, "squashfs")
	if err := os.WriteFile(squashfs, bytes.Repeat([]byte("squash"), 1e6), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(squashfs)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	parts, err := iso.Loader.Prepare(targettest.New(t, liveFiles(t)))
	if err != nil {
		t.Fatal(err)
	}
	var images [2][]byte
	var esp diskimage.Partition
	for i := range images {
		plan, err := iso.plan(parts, root)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "live.iso")
		err = diskimage.WriteFile(t.Context(), name, 0o644,
			func(f *os.File) error { return plan.Image.Write(t.Context(), f) })
		if err != nil {
			t.Fatal(err)
		}
		images[i], esp = []byte(fileOf(t, name)), plan.Image.Layout.Partitions[1]
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two media of the same system differ")
	}
	name := filepath.Join(dir, "live.iso")
	if got := diskimagetest.Run(t, "bsdtar", "-xOf", name, "live/filesystem.squashfs"); got != fileOf(t, squashfs) {
		t.Error("the squashfs is not as it was")
	}
	menu := diskimagetest.Run(t, "bsdtar", "-xOf", name, "boot/grub/grub.cfg")
	for _, want := range []string{
		"boot=live components nonetworking persistence console=tty0 console=ttyS0,115200 quiet\n",
		"\tlinux /live/vmlinuz-6.12 ", "\tinitrd /live/initrd.img-6.1\n", "terminal_output console serial\n"} {
		if !strings.Contains(menu, want) {
			t.Errorf("the menu is\n%s\nwithout %q", menu, want)
		}
	}
	if strings.Index(menu, "vmlinuz-6.12") > strings.Index(menu, "vmlinuz-6.1 ") {
		t.Errorf("the menu begins with the older kernel:\n%s", menu)
	}
	config := diskimagetest.Run(t, "bsdtar", "-xOf", name, "EFI/debian/grub.cfg")
	if want := string(grub.EFIConfig(grub.Place{UUID: iso.Loader.UUID, Dir: "/boot/grub"})); config != want {
		t.Errorf("GRUB, started from a CD by UEFI, begins with\n%s\nwant\n%s", config, want)
	}
	efi := filepath.Join(dir, "esp")
	if err := os.WriteFile(efi, images[0][esp.Start:esp.End()], 0o644); err != nil {
		t.Fatal(err)
	}
	list := diskimagetest.Run(t, "mdir", "-i", efi, "-b", "-/", "::")
	for _, want := range []string{"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/BOOT/grubx64.efi", "::/EFI/debian/grub.cfg"} {
		if !strings.Contains(list, want) {
			t.Errorf("the EFI system partition has\n%s\nand no %s", list, want)
		}
	}
	if strings.Contains(list, "fbx64.efi") {
		t.Errorf("the EFI system partition changes the boot entries of machines:\n%s", list)
	}
}

// TestMediumNamesWhatIsMissing takes files away from a complete root file system.
func TestMediumNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	iso := newISO(testSpec(t, func(o *Options) { o.Image, o.ISO = "", "/out/live.iso" }), testLock())
	for missing, want := range map[string]string{
		"boot/initrd.img-6.12":                 "kernel 6.12 has no initramfs",
		"usr/lib/grub/i386-pc/cdboot.img":      "GRUB for BIOS",
		"usr/lib/shim/shimx64.efi.signed":      "shim-signed",
		"usr/lib/grub/i386-pc/iso9660.mod":     "iso9660.mod",
		"usr/lib/grub/i386-pc/boot_hybrid.img": "boot_hybrid.img",
	} {
		files := liveFiles(t)
		delete(files, missing)
		if _, err := iso.Loader.Prepare(targettest.New(t, files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: error %v, want %q", missing, err, want)
		}
	}
	memory, err := target.NewMemory(diskimage.EmptyTree(treeTime), treeTime)
	if err != nil {
		t.Fatal(err)
	}
	problems := iso.missing(memory, remedy{containerfile: true, dpkg: true})
	const line = "RUN apt-get update && apt-get install -y linux-image-amd64"
	if len(problems) == 0 || !strings.Contains(problems[0].Error(), line) {
		t.Errorf("got %v, want the lines for a Containerfile", problems)
	}
}
