// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"bytes"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// EnvironmentSize is the fixed length of a GRUB environment block (GRUB include/grub/lib/envblk.h
// has the signature, util/grub-editenv.c the length).
const EnvironmentSize = 1024

const environmentSignature = "# GRUB Environment Block\n"

// Environment returns an empty environment block, /boot/grub/grubenv.
func Environment() []byte {
	return append([]byte(environmentSignature), bytes.Repeat([]byte("#"), EnvironmentSize-len(environmentSignature))...)
}

// Place is a file system and a directory in it that GRUB looks for: that of its modules and
// grub.cfg.
type Place struct {
	// UUID is the UUID according to blkid(8): for a FAT, eight digits with a dash.
	UUID string
	// Dir is "/boot/grub", or "/grub" if /boot is a partition of its own.
	Dir string
}

// LoadConfig returns the script that is built into core.img or an EFI program: it finds the file
// system with /boot by its UUID. GRUB runs it before its normal parser is loaded, so it contains
// only plain commands.
func LoadConfig(at Place) []byte {
	return fmt.Appendf(nil, "search.fs_uuid %s root\nset prefix=($root)'%s'\n", at.UUID, at.Dir)
}

// Prefix returns the location of GRUB's modules in the form of core.img: a partition of the disk
// that was booted, whatever the disk's number is.
func Prefix(table diskimage.TableKind, partition int, dir string) string {
	return fmt.Sprintf("(,%s%d)%s", table, partition, dir)
}

// CoreModules returns the modules that core.img or an EFI program needs to read the others from its
// file system, for grub-mkimage. Under UEFI the driver of the firmware's disks is built in.
func CoreModules(platform, filesystem string) []string {
	modules := []string{"part_msdos", "part_gpt", filesystemModule(filesystem), "search_fs_uuid"}
	if platform == BIOSPlatform {
		modules = append([]string{"biosdisk"}, modules...)
	}
	return modules
}

// filesystemModule returns GRUB's name of the driver; ext2 supports ext2, ext3 and ext4.
func filesystemModule(filesystem string) string {
	switch filesystem {
	case "ext3", "ext4":
		return "ext2"
	case "vfat", "msdos":
		return "fat"
	default:
		return filesystem
	}
}

// EFIConfig returns /EFI/debian/grub.cfg of the EFI system partition: it leads the signed GRUB, in
// which that path is built in, to the grub.cfg of the root file system. grub-install writes the
// same three lines.
func EFIConfig(at Place) []byte {
	return fmt.Appendf(nil, "search.fs_uuid %s root \nset prefix=($root)'%s'\nconfigfile $prefix/grub.cfg\n", at.UUID,
		at.Dir)
}
