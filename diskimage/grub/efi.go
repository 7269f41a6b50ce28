// SPDX-License-Identifier: Apache-2.0

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

// efiPlatforms are the platforms on which GRUB runs under UEFI, by GRUB's name of them (the directory of the modules),
// with the suffix of file names: "x64" in shimx64.efi (UEFI specification 2.10, 3.5.1.1: the names for removable
// media).
var efiPlatforms = map[string]string{
	"x86_64-efi":  "x64",
	"i386-efi":    "ia32",
	"arm64-efi":   "aa64",
	"arm-efi":     "arm",
	"riscv64-efi": "riscv64",
}

// efiArches are the platforms by Debian architecture.
var efiArches = map[string]string{
	"amd64":   "x86_64-efi",
	"i386":    "i386-efi",
	"arm64":   "arm64-efi",
	"armhf":   "arm-efi",
	"riscv64": "riscv64-efi",
}

// EFIPlatform is GRUB's name of UEFI on a Debian architecture: "x86_64-efi"; empty if there is none.
func EFIPlatform(arch string) string { return efiArches[arch] }

// BIOSPlatform is GRUB's name of a PC with a BIOS.
const BIOSPlatform = "i386-pc"

// EFIPaths are the names of a GRUB without shim on the EFI system partition: the one in EFI/BOOT, where firmware looks
// on a disk that it has not seen before, and the one in the vendor's directory ("debian"), which updates of the
// packages look after.
func EFIPaths(platform, vendor string) (removable, installed string, err error) {
	suffix, ok := efiPlatforms[platform]
	if !ok {
		return "", "", fmt.Errorf("platform %q of GRUB is not one of UEFI", platform)
	}
	return "EFI/BOOT/" + removableName(suffix), "EFI/" + vendor + "/grub" + suffix + ".efi", nil
}

// EFISignedFiles lists what to copy to the EFI system partition so that GRUB starts with Secure Boot on or off: shim,
// which checks GRUB, and the GRUB that Debian signed (packages shim-signed and grub-efi-ARCH-signed). Every program is
// there twice, see EFIPaths; EFIConfig goes to both directories as grub.cfg.
//
// fbx64.efi and the .CSV file, which can restore the firmware's boot entries, are where grub-install puts them, but
// fbx64.efi is not in EFI/BOOT: shim would start it there and have every machine store an entry for the disk.
func EFISignedFiles(platform, vendor string) ([]EFIFile, error) {
	suffix, ok := efiPlatforms[platform]
	if !ok || suffix == "arm" || suffix == "riscv64" {
		return nil, fmt.Errorf("platform %q of GRUB has no signed boot loader", platform)
	}
	shim := "usr/lib/shim/"
	grub := "usr/lib/grub/" + platform + "-signed/grub" + suffix + ".efi.signed"
	csv := "BOOT" + strings.ToUpper(suffix) + ".CSV"
	installed := "EFI/" + vendor + "/"
	return []EFIFile{
		{shim + "shim" + suffix + ".efi.signed", "EFI/BOOT/" + removableName(suffix)},
		{grub, "EFI/BOOT/grub" + suffix + ".efi"},
		{shim + "mm" + suffix + ".efi.signed", "EFI/BOOT/mm" + suffix + ".efi"},
		{shim + "shim" + suffix + ".efi.signed", installed + "shim" + suffix + ".efi"},
		{grub, installed + "grub" + suffix + ".efi"},
		{shim + "mm" + suffix + ".efi.signed", installed + "mm" + suffix + ".efi"},
		{shim + "fb" + suffix + ".efi.signed", installed + "fb" + suffix + ".efi"},
		{shim + csv, installed + csv},
	}, nil
}

// removableName is the name that firmware starts by itself.
func removableName(suffix string) string { return "BOOT" + strings.ToUpper(suffix) + ".EFI" }
