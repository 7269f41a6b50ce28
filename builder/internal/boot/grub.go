// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// GRUB is GRUB, for the firmware that it says.
type GRUB struct {
	commonLoader
	OnBIOS, onUEFI bool
}

func (l GRUB) String() string {
	switch {
	case l.OnBIOS && l.onUEFI:
		return "GRUB for BIOS and UEFI"
	case l.onUEFI:
		return "GRUB for UEFI"
	default:
		return "GRUB for BIOS"
	}
}

func (l GRUB) BIOS() bool { return l.OnBIOS }

func (l GRUB) UEFI() bool { return l.onUEFI }

func (l GRUB) WritesGrubenv() bool { return true }

// Packages are the packages of the boot loader, and what checks the EFI system partition's file system.
//
// hybrid: grub-pc and grub-efi-amd64 exclude each other, as each of them wants to be the one that installs GRUB.
// grub-cloud-amd64, which Debian's cloud images have, brings the files of both and looks after both: whenever one of
// them is upgraded it finds the disk of /boot and installs GRUB anew for BIOS, UEFI and Secure Boot.
func (l GRUB) Packages(r Request) []string {
	switch {
	case l.OnBIOS && l.onUEFI:
		return []string{"dosfstools", "grub-cloud-amd64"}
	case l.onUEFI:
		packages := append([]string{"dosfstools"}, r.Arch.EFIPackages...)
		if r.SignedEFI() {
			packages = append(packages, r.Arch.EFIPackages[0]+"-signed", "shim-signed")
		}
		return packages
	case r.Arch.PC:
		return []string{"grub-pc"}
	}
	return nil
}

// Answers: grub-pc asks for the disks to install itself to, and an upgrade of it fails for ever if that
// answer is empty and not meant to be (the end of its postinst). Naming a disk would tie the image to one
// hypervisor. So upgrades leave boot code and modules as they are, a pair that fits, and renew grub.cfg;
// grub-install(8) renews the rest by hand.
//
// Under UEFI the copy in EFI/BOOT is renewed as well, and no entries are stored in firmware, which an image that moves
// to another machine could not rely on.
func (l GRUB) Answers() []string {
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

// Check: the EFI system partition is large enough for what is signed (what it needs to the byte is known when the
// packages are there), and there is a package that looks after both firmwares if it is for both.
func (l GRUB) Check(r Request) []error {
	problems := bootOutsideReadOnly(l, r)
	if l.OnBIOS && l.onUEFI && r.Arch.PC && // else it has no BIOS, which loaderNeedsBIOS says
		(r.Arch.Name != "amd64" || r.Release.Vendor != debian.Debian || !r.Release.Since("buster", "")) {
		problems = append(problems,
			problem.New("--boot", "hybrid needs the package grub-cloud-amd64, which Debian has for amd64 "+
				"since buster: choose another release or architecture, --grub, or --grub with --use-uefi")...)
	}
	if l.onUEFI && r.Arch.Name != "" && r.SignedEFI() && r.ESP(l) < leastSignedESP {
		problems = append(problems, problem.New("--esp-size", "%s is too small for shim and GRUB: at least %s needed",
			r.ESP(l), leastSignedESP)...)
	}
	return problems
}

func (l GRUB) Partitions(table diskimage.TableKind) []diskimage.PartitionRequest {
	if !l.OnBIOS || table != diskimage.GPT {
		return nil
	}
	return []diskimage.PartitionRequest{{Role: diskimage.RoleBIOSBoot, Size: diskimage.MiB, Number: gptBIOSBootNumber}}
}

// leastCore is less than any core.img of GRUB that reads a file system: its exact length is known when it is made.
const leastCore = 20 * diskimage.KiB

func (l GRUB) Claims(d Disk) []diskimage.Claim {
	_, embedded := d.Layout.Partition(diskimage.RoleBIOSBoot)
	switch {
	case !l.OnBIOS:
		return nil
	case embedded:
		return []diskimage.Claim{bootCode(l)}
	}
	core := diskimage.Extent{Offset: int64(diskimage.SectorSize), Length: int64(leastCore)}
	return []diskimage.Claim{bootCode(l), {Extent: core, What: "core.img of " + l.String()}}
}

func (l GRUB) Steps(d Disk) []step.Step {
	return []step.Step{step.GRUB{
		Platforms: l.platforms(d), SerialDevice: d.Serial, Cloud: l.OnBIOS && l.onUEFI, Probe: probeAnswers(d),
	}}
}

// Files are the programs or modules of each platform, but for those that are signed.
func (l GRUB) Files(d Disk) []LoaderFile {
	var all []LoaderFile
	for _, platform := range l.platforms(d) {
		file := GRUBMonolith(platform)
		switch {
		case platform == grub.BIOSPlatform:
			file = GRUBModules(platform) + "/kernel.img"
		case d.SignedEFI && platform == grub.EFIPlatform(d.Arch):
			continue
		}
		all = append(all, LoaderFile{strings.TrimPrefix(file, "/"), grubPackage(platform)})
	}
	return all
}

// probeAnswers are what grub-probe would find out about the disk in the booted image.
func probeAnswers(d Disk) grub.ProbeAnswers {
	root, boot := d.Root(), d.Boot()
	filesystem := func(p diskimage.Partition) grub.ProbeFilesystem {
		return grub.ProbeFilesystem{
			UUID: UUID(p.Filesystem), PartUUID: p.PartUUID, Type: p.Filesystem.Type, Partition: p.Number,
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

// GRUBMonolith is the GRUB of a platform of UEFI that has all modules built in and looks for grub.cfg beside
// itself, as the signed one does.
func GRUBMonolith(platform string) string {
	suffix, _, _ := strings.Cut(platform, "-")
	if short, ok := map[string]string{"x86_64": "x64", "i386": "ia32", "arm64": "aa64"}[suffix]; ok {
		suffix = short
	}
	return GRUBModules(platform) + "/monolithic/grub" + suffix + ".efi"
}

// HasSignedEFI reports whether shim and a signed GRUB are there.
func HasSignedEFI(d Disk, f *target.Memory) bool {
	list, err := grub.EFISignedFiles(grub.EFIPlatform(d.Arch), d.vendorDir())
	return err == nil && !slices.ContainsFunc(list, func(e grub.EFIFile) bool {
		_, err := f.Index.File(e.From)
		return err != nil
	})
}
