// SPDX-License-Identifier: Apache-2.0

// Package f2fs writes f2fs file systems without mounting anything and without root.
//
// A Formatter plans the whole file system first: it reads names and metadata of a diskimage.Tree
// and decides the number of each node and the location of each block. Writing the plan, a
// diskimage.Volume, then writes the data of files, metadata from memory, and the superblocks last.
// Blocks of zeros are never written, so that an image file stays sparse.
//
// The result is that of mkfs.f2fs(8) without options, with each file written once: six logs, one
// after the other, followed by free segments; small contents are in their inodes. There is no
// journal and nothing to recover. It keeps nanoseconds and all times of Linux, hard links of all
// kinds, access control lists, capabilities and other extended attributes, which sload.f2fs(8)
// leaves out, and exactly the holes of the tree.
//
// The features are the same for all releases: those of the first version of the format, which Linux
// reads since 3.8 and GRUB since 2.04, without the optional ones of mkfs.f2fs (-O):
//
//	extra_attr            GRUB (grub-core/fs/f2fs.c) does not know that it moves the addresses in inodes
//	flexible_inline_xattr needs extra_attr, as do inode_checksum, inode_crtime, project_quota, compression and casefold
//	sb_checksum           no reader needs it
//	encrypt, verity, quota, lost_found, ro
//	                      nothing here uses them
//
// Small contents are in inodes, where newer kernels put them and GRUB finds them. In tests,
// Debian's kernels 5.10, 6.1, 6.12 and 7.2 read and changed everything.
//
// The same tree and parameters produce the same bytes on every machine: the UUID, the version of
// the checkpoint and all times except those in the tree come from diskimage.Filesystem, and the
// order from the tree. Inodes get that time as access and change time.
//
// Besides data, the file system needs an inode of one block for each file, and room for cleaning
// segments: a third of 64 MiB, a tenth of 512 MiB, 5 % of 2 GiB.
//
// Limits of GRUB 2.06 and 2.12: they do not find the names in a directory that follow a name of 255
// bytes, and they cannot read holes or directories of 4 MiB and more. Set Dense for the files that
// they read.
//
// Not supported: zoned devices and multiple devices, larger sections and zones; extended attributes
// that need more than 4244 bytes, or with names that f2fs does not know; the summary of free nodes
// that makes mounting slightly faster (nat_bits); marking files as hot or cold by their names;
// checking or changing existing file systems. Device nodes are written as they are in the tree.
//
// Sources: Documentation/filesystems/f2fs.rst, include/linux/f2fs_fs.h and fs/f2fs of Linux 6.12,
// f2fs-tools 1.15. The comments name functions there.
package f2fs
