// SPDX-License-Identifier: Apache-2.0

// Package f2fs writes f2fs file systems without mounting anything and without root.
//
// A Formatter plans the whole file system first: it reads names and metadata of a diskimage.Tree and decides
// the number of each node and the place of each block. The plan, a diskimage.Volume, is then written: the
// data of files, metadata from memory, the superblocks last. Blocks of zeros are never written, so that an
// image file stays sparse.
//
// What is written is what mkfs.f2fs(8) makes without options, with the files in it as if they had been
// written once: six logs, one after the other, and behind them free segments; what is small is in its inode.
// There is no journal and nothing to recover. It keeps nanoseconds and all times that Linux has, hard links
// of all kinds, access control lists, capabilities and other extended attributes, which sload.f2fs(8) leaves
// out, and exactly the holes that the tree says.
//
// The features are the same for all releases: those of the format's first version, which Linux reads since 3.8 and GRUB
// since 2.04, and none of those that mkfs.f2fs has to be asked for (-O):
//
//	extra_attr            GRUB (grub-core/fs/f2fs.c) does not know that it moves the addresses in inodes
//	flexible_inline_xattr needs extra_attr, as do inode_checksum, inode_crtime, project_quota, compression and casefold
//	sb_checksum           no reader asks for it
//	encrypt, verity, quota, lost_found, ro
//	                      nothing here uses them
//
// What is small is in inodes, where newer kernels put it by themselves and GRUB finds it. Debian's kernels
// 5.10, 6.1, 6.12 and 7.2 were seen to read and change it all.
//
// The same tree and parameters give the same bytes, whatever the machine: the UUID, the version of the
// checkpoint and all times but those in the tree come from diskimage.Filesystem, and the order from the tree.
// Inodes get that time as access and change time.
//
// What the file system needs beside data is an inode of a block for each file, and room for the cleaning of
// segments, which is a third of 64 MiB, a tenth of 512 MiB and 5 % of 2 GiB.
//
// Limits of GRUB 2.06 and 2.12: of a directory they do not see what comes after a name of 255 bytes, and they
// cannot read holes of 4 MiB and more, nor directories so large. What they read should be Dense in the tree.
//
// Not supported: zoned devices and several of them, larger sections and zones; extended attributes that need
// more than 4244 bytes, or with names that f2fs does not know; the summary of free nodes that makes mounting
// a little faster (nat_bits); marking files as hot or cold by their names; checking and changing of existing
// file systems. Device nodes are written as the tree gives them.
//
// Sources: Documentation/filesystems/f2fs.rst, include/linux/f2fs_fs.h and fs/f2fs of Linux 6.12, f2fs-tools 1.15. The
// comments name functions there.
package f2fs
