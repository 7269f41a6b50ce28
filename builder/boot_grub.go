package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// grubLoader is GRUB, for the firmware that it says.
type grubLoader struct {
	commonLoader
	onBIOS, onUEFI bool
}

func (l grubLoader) String() string {
	switch {
	case l.onBIOS && l.onUEFI:
		return "GRUB for BIOS and UEFI"
	case l.onUEFI:
		return "GRUB for UEFI"
	default:
		return "GRUB for BIOS"
	}
}

func (l grubLoader) bios() bool { return l.onBIOS }

func (l grubLoader) uefi() bool { return l.onUEFI }

func (l grubLoader) writesGrubenv() bool { return true }

// packages are the packages of the boot loader, and what checks the EFI system partition's file system.
//
// hybrid: grub-pc and grub-efi-amd64 exclude each other, as each of them wants to be the one that installs GRUB.
// grub-cloud-amd64, which Debian's cloud images have, brings the files of both and looks after both: whenever one of
// them is upgraded it finds the disk of /boot and installs GRUB anew for BIOS, UEFI and Secure Boot.
func (l grubLoader) packages(r bootRequest) []string {
	switch {
	case l.onBIOS && l.onUEFI:
		return []string{"dosfstools", "grub-cloud-amd64"}
	case l.onUEFI:
		packages := append([]string{"dosfstools"}, r.Arch.EFIPackages...)
		if r.signedEFI() {
			packages = append(packages, r.Arch.EFIPackages[0]+"-signed", "shim-signed")
		}
		return packages
	case r.Arch.PC:
		return []string{"grub-pc"}
	}
	return nil
}

// answers: grub-pc asks for the disks to install itself to, and an upgrade of it fails for ever if that answer is empty and not
// meant to be (the end of its postinst). Naming a disk would tie the image to one hypervisor. So upgrades leave boot
// code and modules as they are, a pair that fits, and renew grub.cfg; grub-install(8) renews the rest by hand.
//
// Under UEFI the copy in EFI/BOOT is renewed as well, and no entries are stored in firmware, which an image that moves
// to another machine could not rely on.
func (l grubLoader) answers() []string {
	if !l.onUEFI {
		return []string{
			"grub-pc grub-pc/install_devices multiselect ",
			"grub-pc grub-pc/install_devices_empty boolean true",
		}
	}
	return []string{"grub2 grub2/force_efi_extra_removable boolean true", "grub2 grub2/update_nvram boolean false"}
}

// leastSignedESP holds shim and GRUB, 12 MB in bookworm, a second time while grub-install replaces them.
const leastSignedESP = 32 * diskimage.MiB

// check: the EFI system partition is large enough for what is signed (what it needs to the byte is known when the
// packages are there), and there is a package that looks after both firmwares if it is for both.
func (l grubLoader) check(r bootRequest) []error {
	problems := bootOutsideReadOnly(l, r)
	if l.onBIOS && l.onUEFI && r.Arch.PC && // else it has no BIOS, which loaderNeedsBIOS says
		(r.Arch.Name != "amd64" || r.Release.Vendor != debian.Debian || !r.Release.Since("buster", "")) {
		problems = append(problems, problem("--boot", "hybrid needs the package grub-cloud-amd64, which Debian has for amd64 "+
			"since buster: choose another release or architecture, --grub, or --grub with --use-uefi")...)
	}
	if l.onUEFI && r.Arch.Name != "" && r.signedEFI() && r.esp(l) < leastSignedESP {
		problems = append(problems, problem("--esp-size", "%s is too small for shim and GRUB: at least %s needed",
			r.esp(l), leastSignedESP)...)
	}
	return problems
}

func (l grubLoader) partitions(table diskimage.TableKind) []diskimage.PartitionRequest {
	if !l.onBIOS || table != diskimage.GPT {
		return nil
	}
	return []diskimage.PartitionRequest{{Role: diskimage.RoleBIOSBoot, Size: diskimage.MiB, Number: gptBIOSBootNumber}}
}

// leastCore is less than any core.img of GRUB that reads a file system: its exact length is known when it is made.
const leastCore = 20 * diskimage.KiB

func (l grubLoader) claims(d bootDisk) []diskimage.Claim {
	_, embedded := d.Layout.Partition(diskimage.RoleBIOSBoot)
	switch {
	case !l.onBIOS:
		return nil
	case embedded:
		return []diskimage.Claim{bootCode(l)}
	}
	core := diskimage.Extent{Offset: int64(diskimage.SectorSize), Length: int64(leastCore)}
	return []diskimage.Claim{bootCode(l), {Extent: core, What: "core.img of " + l.String()}}
}

func (l grubLoader) steps(d bootDisk) []Step {
	return []Step{grubStep{
		Platforms: l.platforms(d), SerialDevice: d.Serial, Cloud: l.onBIOS && l.onUEFI, Probe: probeAnswers(d),
	}}
}

// files are the programs or modules of each platform, but for those that are signed.
func (l grubLoader) files(d bootDisk) []loaderFile {
	var all []loaderFile
	for _, platform := range l.platforms(d) {
		file := grubMonolith(platform)
		switch {
		case platform == grub.BIOSPlatform:
			file = grubModules(platform) + "/kernel.img"
		case d.SignedEFI && platform == grub.EFIPlatform(d.Arch):
			continue
		}
		all = append(all, loaderFile{strings.TrimPrefix(file, "/"), grubPackage(platform)})
	}
	return all
}

// probeAnswers are what grub-probe would find out about the disk in the booted image.
func probeAnswers(d bootDisk) grub.ProbeAnswers {
	root, boot := d.root(), d.boot()
	filesystem := func(p diskimage.Partition) grub.ProbeFilesystem {
		return grub.ProbeFilesystem{
			UUID: fstabUUID(p.Filesystem), PartUUID: p.PartUUID, Type: p.Filesystem.Type, Partition: p.Number,
		}
	}
	answers := grub.ProbeAnswers{Table: d.Layout.Table, Root: filesystem(root)}
	if boot.Number != root.Number {
		separate := filesystem(boot)
		answers.Boot = &separate
	}
	return answers
}

// grubPackage is Debian's package of GRUB for a platform.
func grubPackage(platform string) string {
	if platform == grub.BIOSPlatform {
		return "grub-pc-bin"
	}
	cpu := strings.TrimSuffix(platform, "-efi")
	if name, other := map[string]string{"x86_64": "amd64", "i386": "ia32"}[cpu]; other {
		cpu = name
	}
	return fmt.Sprintf("grub-efi-%s-bin", cpu)
}

// grubMonolith is the GRUB of a platform of UEFI that has all modules built in and looks for grub.cfg beside itself, as the
// signed one does.
func grubMonolith(platform string) string {
	suffix, _, _ := strings.Cut(platform, "-")
	if short, ok := map[string]string{"x86_64": "x64", "i386": "ia32", "arm64": "aa64"}[suffix]; ok {
		suffix = short
	}
	return grubModules(platform) + "/monolithic/grub" + suffix + ".efi"
}

// hasSignedEFI reports whether shim and a signed GRUB are there.
func hasSignedEFI(d bootDisk, f *treeFiles) bool {
	list, err := grub.EFISignedFiles(grub.EFIPlatform(d.Arch), d.vendorDir())
	return err == nil && !slices.ContainsFunc(list, func(e grub.EFIFile) bool {
		_, err := f.index.File(e.From)
		return err != nil
	})
}
