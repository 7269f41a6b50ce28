// SPDX-License-Identifier: Apache-2.0

// Package syslinux installs extlinux and syslinux into file systems of a disk image, without mounting them and without
// running syslinux's installers: Extract takes the boot loader out of Debian's extlinux program, where alone it is
// kept, and Loader.Install patches it for the place that its file has on the disk.
//
// An installation has four parts: boot code in sector 0 that starts a partition (MBRCode); the partition's boot sector;
// ldlinux.sys, a file whose blocks the boot sector knows; and beside it ldlinux.c32 and a configuration (Config), which
// KernelHook, a shell script for the system that boots, keeps in step with the kernels there. The first two files are
// Immutable, as the installers leave them. On ext2, ext3 and ext4 this is extlinux, on FAT syslinux; both read
// ConfigName. ldlinux.sys is first put into the tree as Loader.File; when the file system is planned and the file's
// blocks are known, Install gives the final bytes for the same blocks.
//
// All functions are pure: bytes in, bytes out. The formats are those of Debian's syslinux 6.04~git20190206
// (libinstaller/syslxint.h, syslxmod.c, setadv.c; core/diskstart.inc, diskboot.inc), which every release since buster
// has.
//
// syslinux cannot read holes in files of an ext4 file system: every file that it is to read (ldlinux.sys, *.c32,
// extlinux.conf, kernel, initrd) has to be Dense. Not supported: btrfs, NTFS, UFS, RAID, and file systems with
// inline_data, meta_bg or bigalloc.
package syslinux
