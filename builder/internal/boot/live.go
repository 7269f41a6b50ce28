// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// Live is the boot loader of a live medium: GRUB for each firmware of the architecture, and shim for Secure Boot. It is
// no Loader, because a medium has no root partition, and nothing of it is installed in the root file system.
type Live struct {
	Arch   debian.Arch
	Vendor debian.Vendor
	// Signed reports whether shim and GRUB are signed for Secure Boot.
	Signed bool
	// UUID is that of the medium's file system, by which GRUB finds it.
	UUID string
	// Serial is the kernel's name for the serial console ("ttyS0"), or empty for none.
	Serial string
	// Arguments are those of the kernel.
	Arguments string
	// Time is that of the files.
	Time time.Time
}

// Names on the medium.
const (
	// LiveDir is the directory with the squashfs and the kernels, as live-boot expects.
	LiveDir = "live"
	// LiveBIOSImage is what a BIOS starts from a CD.
	LiveBIOSImage = "boot/grub/eltorito.img"

	liveGRUBDir = "boot/grub"
)

// String returns the name for messages.
func (l Live) String() string {
	var firmwares []string
	if l.Arch.PC {
		firmwares = append(firmwares, "BIOS")
	}
	if l.Arch.EFI != "" {
		firmwares = append(firmwares, "UEFI")
	}
	if l.Signed {
		firmwares = append(firmwares, "Secure Boot")
	}
	last := len(firmwares) - 1
	if last < 1 {
		return "GRUB for " + strings.Join(firmwares, "")
	}
	return "GRUB for " + strings.Join(firmwares[:last], ", ") + " and " + firmwares[last]
}

// LivePackages returns the packages of the root file system that a live medium needs: what its initramfs does, and the
// files of its boot loader. None of those installs GRUB by itself, so that an installer can choose one that does.
func LivePackages(r Request) []string {
	packages := []string{"live-boot", "live-boot-initramfs-tools"}
	if r.Arch.PC {
		packages = append(packages, "grub-pc-bin")
	}
	for _, name := range r.Arch.EFIPackages {
		if !strings.HasSuffix(name, "-bin") {
			name += "-bin"
		}
		packages = append(packages, name)
	}
	if r.SignedEFI() {
		packages = append(packages, r.Arch.EFIPackages[0]+"-signed", "shim-signed")
	}
	return packages
}

// initramfsHook is what makes an initramfs one of live-boot.
const initramfsHook = "usr/share/initramfs-tools/hooks/live"

// FilesNeeded returns the files that a medium needs from the root file system, beside kernels.
func (l Live) FilesNeeded() []LoaderFile {
	needed := []LoaderFile{{initramfsHook, "live-boot-initramfs-tools"}}
	if l.Arch.PC {
		name := strings.TrimPrefix(GRUBModules(grub.BIOSPlatform), "/") + "/cdboot.img"
		needed = append(needed, LoaderFile{name, grubPackage(grub.BIOSPlatform)})
	}
	if platform := grub.EFIPlatform(l.Arch.Name); platform != "" && !l.Signed {
		needed = append(needed, LoaderFile{strings.TrimPrefix(MonolithicGRUB(platform), "/"), grubPackage(platform)})
	}
	return needed
}

// LiveParts are the parts of the boot loader on a medium.
type LiveParts struct {
	// Files are those of the medium: the menu and what leads to it, the kernels with their initramfs, and LiveBIOSImage.
	Files []diskimage.Entry
	// ESP are the files of the EFI system partition; nil for none.
	ESP []diskimage.Entry
	// bios is the content of LiveBIOSImage, and hybrid the boot code for sector 0; nil for none.
	bios, hybrid []byte
}

// BIOS reports whether a BIOS starts the medium.
func (p LiveParts) BIOS() bool { return p.bios != nil }

// Patches returns the boot code, when the number of the first block of LiveBIOSImage is known.
func (p LiveParts) Patches(block uint32) ([]diskimage.Patch, error) {
	return grub.EmbedCD(p.hybrid, p.bios, block)
}

// Prepare returns the parts, from the files of a root file system.
func (l Live) Prepare(f target.Files) (LiveParts, error) {
	var parts LiveParts
	kernels, err := menuKernels(None{}, f)
	if err != nil {
		return parts, err
	}
	if len(kernels) == 0 {
		return parts, errors.New("there is no kernel (/boot/vmlinuz-VERSION)")
	}
	add := func(name string, data []byte) {
		parts.Files = append(parts.Files, diskimage.FileEntry(name, 0o644, data, l.Time))
	}
	for _, k := range kernels {
		if k.Initrd == "" {
			return parts, fmt.Errorf("kernel %s has no initramfs (/boot/initrd.img-%s)", k.Version, k.Version)
		}
		for _, name := range []string{k.File, k.Initrd} {
			data, err := f.ReadFile("/boot/" + name)
			if err != nil {
				return parts, err
			}
			add(LiveDir+"/"+name, data)
		}
	}
	add(liveGRUBDir+"/grub.cfg", l.menu(kernels).Bytes())
	if l.Arch.PC {
		if err := l.biosParts(&parts, f); err != nil {
			return parts, fmt.Errorf("GRUB for BIOS: %w", err)
		}
		add(LiveBIOSImage, parts.bios)
	}
	if l.Arch.EFI != "" {
		if parts.ESP, err = l.esp(f); err != nil {
			return parts, fmt.Errorf("GRUB for UEFI: %w", err)
		}
		// To a GRUB that was started from a CD, the ESP is no partition: it looks on the medium itself.
		add(l.efiConfig(), grub.EFIConfig(l.place()))
	}
	return parts, nil
}

// efiConfig is the file that the signed GRUB begins with.
func (l Live) efiConfig() string { return "EFI/" + Disk{Vendor: l.Vendor}.vendorDir() + "/grub.cfg" }

// place is where GRUB finds its menu.
func (l Live) place() grub.Place { return grub.Place{UUID: l.UUID, Dir: "/" + liveGRUBDir} }

// menu returns the menu.
func (l Live) menu(kernels []grub.MenuKernel) grub.Menu {
	m := grub.Menu{Live: true, Title: string(l.Vendor) + " GNU/Linux", Boot: l.place(), KernelDir: "/" + LiveDir,
		Timeout: 5, Kernels: kernels, Arguments: l.Arguments, QuietArguments: "quiet"}
	if l.Serial != "" {
		m.Arguments += fmt.Sprintf(" console=tty0 console=%s,%d", l.Serial, serialBaud)
	}
	if strings.HasPrefix(l.Serial, "ttyS") { // GRUB supports only serial ports of PCs
		m.Terminal = []string{fmt.Sprintf("serial --unit=0 --speed=%d", serialBaud), "terminal_input console serial",
			"terminal_output console serial"}
	}
	return m
}

// biosParts makes GRUB for BIOS.
func (l Live) biosParts(parts *LiveParts, f target.Files) (err error) {
	file := func(name string) ([]byte, error) { return f.ReadFile(GRUBModules(grub.BIOSPlatform) + "/" + name) }
	core, err := grub.Core{File: file, Modules: grub.CDModules(), Config: grub.LoadConfig(l.place()),
		Prefix: l.place().Dir}.Image()
	if err != nil {
		return err
	}
	cdboot, err := file("cdboot.img")
	if err != nil {
		return err
	}
	if parts.hybrid, err = file("boot_hybrid.img"); err != nil {
		return err
	}
	parts.bios, err = grub.CDImage(cdboot, core)
	return err
}

// esp returns the files of the EFI system partition: only those in EFI/BOOT, since nothing is ever installed there, and
// the grub.cfg that leads them to the menu.
func (l Live) esp(f target.Files) ([]diskimage.Entry, error) {
	d := Disk{Vendor: l.Vendor, Time: l.Time}
	config := grub.EFIConfig(l.place())
	files := []diskimage.Entry{
		diskimage.FileEntry("EFI/BOOT/grub.cfg", 0o644, config, l.Time),
		diskimage.FileEntry(l.efiConfig(), 0o644, config, l.Time),
	}
	platform := grub.EFIPlatform(l.Arch.Name)
	if l.Signed {
		signed, err := grubSigned(d, f, platform)
		if err != nil {
			return nil, err
		}
		files = append(files, slices.DeleteFunc(signed,
			func(e diskimage.Entry) bool { return !strings.HasPrefix(e.Name, "EFI/BOOT/") })...)
	} else {
		program, err := l.monolithic(f, platform)
		if err != nil {
			return nil, err
		}
		files = append(files, program)
	}
	if l.Arch.Name != "amd64" {
		return files, nil
	}
	// Some machines with 64-bit processors have 32-bit firmware. Not every release has a program for them.
	switch program, err := l.monolithic(f, grub.EFIPlatform("i386")); {
	case err == nil:
		files = append(files, program)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return files, nil
}

// monolithic returns the GRUB of a platform that has all modules built in.
func (l Live) monolithic(f target.Files, platform string) (diskimage.Entry, error) {
	data, err := f.ReadFile(MonolithicGRUB(platform))
	if err != nil {
		return diskimage.Entry{}, err
	}
	removable, _, err := grub.EFIPaths(platform, "")
	return diskimage.FileEntry(removable, 0o644, data, l.Time), err
}
