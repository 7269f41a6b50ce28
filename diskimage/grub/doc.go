// Package grub puts GRUB 2 on a disk image without running any of its installers: it places the boot code of GRUB for
// BIOS (EmbedBIOS), lists what GRUB for UEFI needs on the EFI system partition (EFIFiles), and writes the little texts
// that GRUB reads on its way to grub.cfg.
//
// All functions are pure: bytes in, bytes out. The inputs are files of the Debian release that is to boot, never of the
// host: boot.img and the modules from grub-pc-bin, a core.img that grub-mkimage made of these modules, the signed or
// monolithic EFI programs.
//
// Not supported: LVM, LUKS, RAID, more than one disk, Reed-Solomon redundancy in core.img (grub-bios-setup adds it
// unless called with --no-rs-codes; an image file has no bad sectors to repair).
package grub
