// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// GRUB installs GRUB for BIOS, UEFI or both.
type GRUB struct {
	commonLoader
	OnBIOS, onUEFI bool
}

// String implements Loader.
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

// BIOS implements Loader.
func (l GRUB) BIOS() bool { return l.OnBIOS }

// UEFI implements Loader.
func (l GRUB) UEFI() bool { return l.onUEFI }

// WritesGrubenv implements Loader.
func (l GRUB) WritesGrubenv() bool { return true }

// Packages implements Loader. It returns the packages of GRUB, and of the fsck for the EFI system partition.
//
// hybrid: grub-pc and grub-efi-amd64 conflict, since each of them installs GRUB. grub-cloud-amd64, which Debian's cloud
// images use, depends on the files of both and maintains both: after an upgrade it finds the disk of /boot and installs
// GRUB again for BIOS, UEFI and Secure Boot.
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

// Answers implements Loader. grub-pc asks for the disks to install itself to, and its upgrades fail if the answer is
// empty unless it is declared to be (end of its postinst). Naming a disk would tie the image to one hypervisor. So
// upgrades update grub.cfg, and leave boot code and modules as they are: they match each other. Users update them with
// grub-install(8).
//
// Under UEFI, upgrades update the copy in EFI/BOOT as well. They store no entries in the firmware, since those would be
// missing on other machines.
func (l GRUB) Answers() []string {
	if !l.onUEFI {
		return []string{
			"grub-pc grub-pc/install_devices multiselect ",
			"grub-pc grub-pc/install_devices_empty boolean true",
		}
	}
	return []string{"grub2 grub2/force_efi_extra_removable boolean true", "grub2 grub2/update_nvram boolean false"}
}

// minSignedESP has room for shim and GRUB, 12 MB in bookworm, twice: grub-install writes new files before it
// removes the old ones.
const minSignedESP = 32 * diskimage.MiB

// Check implements Loader. It checks that the EFI system partition is large enough for signed programs, whose
// exact size is known only when the packages are installed, and that the package for hybrid exists.
func (l GRUB) Check(r Request) []error {
	problems := append(bootOutsideReadOnly(l, r), bootOutsideEncrypted(l, r)...)
	if l.OnBIOS && l.onUEFI && r.Arch.PC && // else there is no BIOS, which loaderNeedsBIOS reports
		(r.Arch.Name != "amd64" || r.Release.Vendor != debian.Debian || !r.Release.Since("buster", "")) {
		problems = append(problems,
			problem.New("--boot", "hybrid needs the package grub-cloud-amd64, which Debian has for amd64 "+
				"since buster: choose another release or architecture, --grub, or --grub with --use-uefi")...)
	}
	if l.onUEFI && r.Arch.Name != "" && r.SignedEFI() && r.ESP(l) < minSignedESP {
		problems = append(problems, problem.New("--esp-size", "%s is too small for shim and GRUB: at least %s needed",
			r.ESP(l), minSignedESP)...)
	}
	return problems
}

// Partitions implements Loader.
func (l GRUB) Partitions(table diskimage.TableKind) []diskimage.PartitionRequest {
	if !l.OnBIOS || table != diskimage.GPT {
		return nil
	}
	return []diskimage.PartitionRequest{{Role: diskimage.RoleBIOSBoot, Size: diskimage.MiB, Number: gptBIOSBootNumber}}
}

// minCoreSize is smaller than every core.img that reads a file system. Its exact size is known when it is made.
const minCoreSize = 20 * diskimage.KiB

// Claims implements Loader.
func (l GRUB) Claims(d Disk) []diskimage.Claim {
	_, embedded := d.Layout.Partition(diskimage.RoleBIOSBoot)
	switch {
	case !l.OnBIOS:
		return nil
	case embedded:
		return []diskimage.Claim{bootCode(l)}
	}
	core := diskimage.Extent{Offset: int64(diskimage.SectorSize), Length: int64(minCoreSize)}
	return []diskimage.Claim{bootCode(l), {Extent: core, What: "core.img of " + l.String()}}
}

// Steps implements Loader.
func (l GRUB) Steps(d Disk) []step.Step {
	return []step.Step{step.GRUB{
		Platforms: l.platforms(d), SerialDevice: d.Serial, Cloud: l.OnBIOS && l.onUEFI, Probe: ProbeAnswers(d),
	}}
}

// Files implements Loader. It returns a program or module of each platform, except the signed ones.
func (l GRUB) Files(d Disk) []LoaderFile {
	var all []LoaderFile
	for _, platform := range l.platforms(d) {
		file := MonolithicGRUB(platform)
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

// ProbeAnswers returns the results of grub-probe on the disk in the booted image.
func ProbeAnswers(d Disk) grub.ProbeAnswers {
	root, boot := d.Root(), d.Boot()
	filesystem := func(p diskimage.Partition) grub.ProbeFilesystem {
		return grub.ProbeFilesystem{
			UUID: UUID(p.Filesystem), PartUUID: p.PartUUID, Type: p.Filesystem.Type, Partition: p.Number,
			Encrypted: p.LUKS != uuid.Nil,
		}
	}
	answers := grub.ProbeAnswers{Table: d.Layout.Table, Root: filesystem(root)}
	if boot.Number != root.Number {
		separate := filesystem(boot)
		answers.Boot = &separate
	}
	return answers
}

// grubPackage returns the Debian package with GRUB for a platform.
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

// MonolithicGRUB returns the name of the EFI program of GRUB that has all modules built in. Like the signed
// one, it looks for grub.cfg in its own directory.
func MonolithicGRUB(platform string) string {
	suffix, _, _ := strings.Cut(platform, "-")
	if short, ok := map[string]string{"x86_64": "x64", "i386": "ia32", "arm64": "aa64"}[suffix]; ok {
		suffix = short
	}
	return GRUBModules(platform) + "/monolithic/grub" + suffix + ".efi"
}

// HasSignedEFI reports whether the files contain shim and a signed GRUB.
func HasSignedEFI(d Disk, f *target.Memory) bool {
	list, err := grub.EFISignedFiles(grub.EFIPlatform(d.Arch), d.vendorDir())
	return err == nil && !slices.ContainsFunc(list, func(e grub.EFIFile) bool {
		_, err := f.Index.File(e.From)
		return err != nil
	})
}
