package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// grubPackages are the packages of the boot loader, and what checks the EFI system partition's file system.
//
// hybrid: grub-pc and grub-efi-amd64 exclude each other, as each of them wants to be the one that installs GRUB.
// grub-cloud-amd64, which Debian's cloud images have, brings the files of both and looks after both: whenever one of
// them is upgraded it finds the disk of /boot and installs GRUB anew for BIOS, UEFI and Secure Boot.
func (s Spec) grubPackages() []string {
	switch s.loader() {
	case loaderGrubBIOS:
		if s.arch.PC {
			return []string{"grub-pc"}
		}
	case loaderGrubEFI:
		packages := append([]string{"dosfstools"}, s.arch.EFIPackages...)
		if s.signedEFI() {
			packages = append(packages, s.arch.EFIPackages[0]+"-signed", "shim-signed")
		}
		return packages
	case loaderGrubHybrid:
		return []string{"dosfstools", "grub-cloud-amd64"}
	}
	return nil
}

// grubAnswers are given to debconf before packages are installed.
//
// grub-pc asks for the disks to install itself to, and an upgrade of it fails for ever if that answer is empty and not
// meant to be (the end of its postinst). Naming a disk would tie the image to one hypervisor. So upgrades leave boot
// code and modules as they are, a pair that fits, and renew grub.cfg; grub-install(8) renews the rest by hand.
//
// Under UEFI the copy in EFI/BOOT is renewed as well, and no entries are stored in firmware, which an image that moves
// to another machine could not rely on.
func grubAnswers(l loader) []string {
	switch {
	case l == loaderGrubBIOS:
		return []string{
			"grub-pc grub-pc/install_devices multiselect ",
			"grub-pc grub-pc/install_devices_empty boolean true",
		}
	case l.grub():
		return []string{"grub2 grub2/force_efi_extra_removable boolean true", "grub2 grub2/update_nvram boolean false"}
	}
	return nil
}

// signedEFI reports whether the release has shim and GRUB signed for Secure Boot: Debian since buster, on i386 up to
// bookworm. Ubuntu's, under other names, are not used.
func (s Spec) signedEFI() bool {
	if s.release.Vendor != debian.Debian || !s.release.Since("buster", "") {
		return false
	}
	switch s.arch.Name {
	case "amd64", "arm64":
		return true
	case "i386":
		return !s.release.Since("trixie", "")
	}
	return false
}

// leastSignedESP holds shim and GRUB, 12 MB in bookworm, a second time while grub-install replaces them.
const leastSignedESP = 32 * diskimage.MiB

// espSize is the length of the EFI system partition. The manual's default, 5 MiB, does not hold shim and GRUB; it
// stands for "large enough": a FAT32, which the UEFI specification asks for on fixed disks.
func (s Spec) espSize() diskimage.Size {
	switch {
	case s.o.ESPSize != defaultESPSize:
		return s.o.ESPSize
	case s.loader() == loaderSystemdBoot:
		return systemdBootESP
	default:
		return diskimage.FAT32From(s.o.SectorSize)
	}
}

// espHoldsGrub holds before the packages are downloaded; what they need to the byte is known when they are there.
func espHoldsGrub(s Spec) []error {
	if s.loader().grub() && s.loader().uefi() && s.arch.Name != "" && s.signedEFI() && s.espSize() < leastSignedESP {
		return problem("--esp-size", "%s is too small for shim and GRUB: at least %s needed", s.espSize(), leastSignedESP)
	}
	return nil
}

// hybridHasPackages: only Debian for amd64 has a package that looks after both.
func hybridHasPackages(s Spec) []error {
	if s.loader() != loaderGrubHybrid || s.arch.Name == "" || !s.arch.PC {
		return nil // loaderNeedsBIOS
	}
	if s.arch.Name != "amd64" || s.release.Vendor != debian.Debian || !s.release.Since("buster", "") {
		return problem("--boot", "hybrid needs the package grub-cloud-amd64, which Debian has for amd64 since buster: choose "+
			"another release or architecture, --grub, or --grub with --use-uefi")
	}
	return nil
}
