// SPDX-License-Identifier: Apache-2.0

// Package syslinux installs extlinux and syslinux into file systems of a disk image, without
// mounting them and without running syslinux's installers: Extract reads the boot loader from
// Debian's extlinux program, the only file that contains it, and Loader.Install patches it for the
// location of its file on the disk.
//
// An installation has four parts: boot code in sector 0 that starts a partition (MBRCode); the
// partition's boot sector; ldlinux.sys, a file whose blocks the boot sector knows; and in the same
// directory ldlinux.c32 and a configuration (Config), in which KernelHook, a shell script for the
// booted system, maintains the list of kernels. The first two files are Immutable, as after the
// installers. On ext2, ext3 and ext4 this is extlinux, on FAT syslinux; both read ConfigName.
// ldlinux.sys is first added to the tree as Loader.File; when the file system is planned and the
// file's blocks are known, Install returns the final content of the same blocks.
//
// All functions are pure: bytes in, bytes out. The formats are those of Debian's syslinux
// 6.04~git20190206 (libinstaller/syslxint.h, syslxmod.c, setadv.c; core/diskstart.inc,
// diskboot.inc), which is in every release since buster.
//
// syslinux cannot read holes in files of an ext4 file system: every file that it reads
// (ldlinux.sys, *.c32, extlinux.conf, kernel, initrd) must be Dense. Not supported: btrfs, NTFS,
// UFS, RAID, and file systems with inline_data, meta_bg or bigalloc.
package syslinux
