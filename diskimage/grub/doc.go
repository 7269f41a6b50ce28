// SPDX-License-Identifier: Apache-2.0

// Package grub puts GRUB 2 on a disk image without running any of its installers: it makes core.img (Core), places the
// boot code of GRUB for BIOS (EmbedBIOS), says what goes where on the EFI system partition (EFISignedFiles, EFIPaths),
// and writes the little texts that GRUB reads on its way to grub.cfg, or that as well (Menu). One disk can have both
// and one grub.cfg for them.
//
// All functions are pure: bytes in, bytes out. The inputs are files of the Debian release that is to boot, never of the
// host: boot.img, the kernel and the modules from grub-pc-bin, or a core.img that grub-mkimage made of them, an EFI
// program that it made, Debian's signed EFI programs.
//
// Not supported: LVM, LUKS, RAID, more than one disk, Reed-Solomon redundancy in core.img (grub-bios-setup adds it
// unless called with --no-rs-codes; an image file has no bad sectors to repair).
package grub
