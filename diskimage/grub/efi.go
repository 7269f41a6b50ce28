package grub

import (
	"fmt"
	"strings"
)

// EFIFile is a file of the EFI system partition.
type EFIFile struct {
	// From is its path in the root file system that is to boot, To its path on the partition; both without a leading
	// slash.
	From, To string
}

// efiArch is what UEFI and Debian call an architecture's programs.
type efiArch struct {
	platform string // GRUB's name: the directory of its modules
	suffix   string // of file names: "x64" in shimx64.efi
	shim     bool   // Debian signs shim and GRUB for it
}

// efiArches are the architectures for which Debian has a monolithic GRUB for UEFI (UEFI specification 2.10, 3.5.1.1:
// the file names for removable media).
var efiArches = map[string]efiArch{
	"amd64":   {"x86_64-efi", "x64", true},
	"i386":    {"i386-efi", "ia32", true},
	"arm64":   {"arm64-efi", "aa64", true},
	"armhf":   {"arm-efi", "arm", false},
	"riscv64": {"riscv64-efi", "riscv64", false},
}

// EFIPlatform is GRUB's name of UEFI on a Debian architecture: "x86_64-efi"; empty if there is none.
func EFIPlatform(arch string) string { return efiArches[arch].platform }

// EFIFiles lists what to copy to the EFI system partition. Every program is there twice: in EFI/BOOT, where firmware
// looks on a disk that it has not seen before, and in EFI/debian, which updates of the packages look after.
//
// With signed, shim starts and checks the signed GRUB (packages shim-signed and grub-efi-ARCH-signed); Secure Boot may
// be on or off. fbx64.efi and the .CSV file, which can restore the firmware's boot entries, are where grub-install puts
// them, but fbx64.efi is not in EFI/BOOT: shim would start it there and have every machine store an entry for the disk.
// Otherwise the monolithic GRUB of grub-efi-ARCH-bin (or -unsigned) starts by itself. EFIConfig goes
// to both directories as grub.cfg.
func EFIFiles(arch string, signed bool) ([]EFIFile, error) {
	a, ok := efiArches[arch]
	if !ok {
		return nil, fmt.Errorf("GRUB for UEFI on %s is not known", arch)
	}
	if !signed {
		from := "usr/lib/grub/" + a.platform + "/monolithic/grub" + a.suffix + ".efi"
		return []EFIFile{{from, "EFI/BOOT/" + removable(a)}, {from, "EFI/debian/grub" + a.suffix + ".efi"}}, nil
	}
	if !a.shim {
		return nil, fmt.Errorf("Debian has no signed boot loader for %s", arch)
	}
	shim := "usr/lib/shim/"
	grub := "usr/lib/grub/" + a.platform + "-signed/grub" + a.suffix + ".efi.signed"
	return []EFIFile{
		{shim + "shim" + a.suffix + ".efi.signed", "EFI/BOOT/" + removable(a)},
		{grub, "EFI/BOOT/grub" + a.suffix + ".efi"},
		{shim + "mm" + a.suffix + ".efi.signed", "EFI/BOOT/mm" + a.suffix + ".efi"},
		{shim + "shim" + a.suffix + ".efi.signed", "EFI/debian/shim" + a.suffix + ".efi"},
		{grub, "EFI/debian/grub" + a.suffix + ".efi"},
		{shim + "mm" + a.suffix + ".efi.signed", "EFI/debian/mm" + a.suffix + ".efi"},
		{shim + "fb" + a.suffix + ".efi.signed", "EFI/debian/fb" + a.suffix + ".efi"},
		{shim + "BOOT" + strings.ToUpper(a.suffix) + ".CSV", "EFI/debian/BOOT" + strings.ToUpper(a.suffix) + ".CSV"},
	}, nil
}

// removable is the name that firmware starts by itself.
func removable(a efiArch) string { return "BOOT" + strings.ToUpper(a.suffix) + ".EFI" }
