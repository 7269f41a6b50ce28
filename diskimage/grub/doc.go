// SPDX-License-Identifier: Apache-2.0

// Package grub installs GRUB 2 on a disk image without running any of its installers: it makes
// core.img (Core), places the boot code of GRUB for BIOS (EmbedBIOS), lists the files of the EFI
// system partition (EFISignedFiles, EFIPaths), and writes the scripts through which GRUB finds
// grub.cfg, or grub.cfg itself (Menu). A disk can have GRUB for BIOS and for UEFI, with one
// grub.cfg for both.
//
// All functions are pure: bytes in, bytes out. The inputs are files of the Debian release on the
// disk, never of the host: boot.img, the kernel and the modules from grub-pc-bin, or a core.img or
// EFI program that grub-mkimage made, and Debian's signed EFI programs.
//
// Not supported: LVM, LUKS, RAID, more than one disk, Reed-Solomon redundancy in core.img (grub-bios-setup adds it
// unless called with --no-rs-codes; an image file has no bad sectors to repair).
package grub
