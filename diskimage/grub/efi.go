// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"fmt"
	"strings"
)

// EFIFile is a file of the EFI system partition.
type EFIFile struct {
	// From is its path in the root file system on the disk, To its path on the partition; both
	// without a leading slash.
	From, To string
}

// efiPlatforms maps GRUB's names of UEFI platforms (the directories of the modules) to suffixes of
// file names: "x64" as in shimx64.efi (UEFI specification 2.10, 3.5.1.1: the names for removable
// media).
var efiPlatforms = map[string]string{
	"x86_64-efi":  "x64",
	"i386-efi":    "ia32",
	"arm64-efi":   "aa64",
	"arm-efi":     "arm",
	"riscv64-efi": "riscv64",
}

// efiArches maps Debian architectures to platforms.
var efiArches = map[string]string{
	"amd64":   "x86_64-efi",
	"i386":    "i386-efi",
	"arm64":   "arm64-efi",
	"armhf":   "arm-efi",
	"riscv64": "riscv64-efi",
}

// EFIPlatform returns GRUB's name of UEFI on a Debian architecture, such as "x86_64-efi", or "" if
// there is none.
func EFIPlatform(arch string) string { return efiArches[arch] }

// BIOSPlatform is GRUB's name of a PC with a BIOS.
const BIOSPlatform = "i386-pc"

// EFIPaths returns the names of a GRUB without shim on the EFI system partition: the one in
// EFI/BOOT, which firmware starts from a disk that it has not seen before, and the one in the
// vendor's directory ("debian"), which package updates maintain.
func EFIPaths(platform, vendor string) (removable, installed string, err error) {
	suffix, ok := efiPlatforms[platform]
	if !ok {
		return "", "", fmt.Errorf("platform %q of GRUB does not use UEFI", platform)
	}
	return "EFI/BOOT/" + removableName(suffix), "EFI/" + vendor + "/grub" + suffix + ".efi", nil
}

// EFISignedFiles returns the files to copy to the EFI system partition so that GRUB starts with
// Secure Boot on or off: shim, which verifies GRUB, and the GRUB that Debian signed (packages
// shim-signed and grub-efi-ARCH-signed). Every program is there twice, see EFIPaths; EFIConfig is
// the grub.cfg of both directories.
//
// fbx64.efi and the .CSV file, which can restore the firmware's boot entries, are in the same
// directory as with grub-install, except that fbx64.efi is not in EFI/BOOT: shim would start it
// from there, so that every machine would store an entry for the disk.
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

// removableName returns the name that firmware looks for on its own.
func removableName(suffix string) string { return "BOOT" + strings.ToUpper(suffix) + ".EFI" }
