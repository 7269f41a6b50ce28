// SPDX-License-Identifier: Apache-2.0

// Package ext writes ext2, ext3 and ext4 file systems without mounting anything and without root.
//
// A Formatter plans the whole file system first: it reads names and metadata of a diskimage.Tree and decides
// the number of each inode and the place of each block. The plan, a diskimage.Volume, is then written: data
// of files, read by a few workers at once and written in the order of the disk, metadata from memory, the
// superblocks last. Blocks of zeros are never written, so that an image file stays sparse. Blocks of large
// files are shared with the tree instead of copied, where both are on one file system that can do so (btrfs,
// xfs).
//
// What is written is what mke2fs(8) would make of the same parameters: 4 KiB blocks, 256-byte inodes, an inode for
// each 16 KiB, 5 % of the blocks reserved for root, the same journal, the same room to grow with resize2fs(8), the same
// features (see features.go for the choice by Debian release). Unlike "mke2fs -d" it keeps nanoseconds, times after
// 2038, hard links of all kinds and access control lists, indexes large directories, and keeps exactly the holes that
// the tree says: a block of zeros in a file remains a block, because boot loaders cannot read holes.
//
// The same tree and parameters give the same bytes, whatever the machine: the UUID, the seed of the directory hash and
// all times but those in the tree come from diskimage.Filesystem, and the order from the tree. Inodes get that time
// as access, change and creation time. Modification times outside of 1901 to 2446 become the nearest that fits.
//
// How fast that is "make bench-disk" tells, next to mke2fs and a plain copy. Memory is needed for names and metadata,
// 400 bytes for each file, and not for contents.
//
// Two limits of boot loaders: GRUB 2.06 cannot read a file that begins with a hole, and syslinux cannot read holes at
// all. What they read should be Dense in the tree.
//
// Not supported: other block and inode sizes; more than 2^32-1 blocks (16 TiB); extended attributes that need more
// than one block, or with names that ext4 does not know; bigalloc, inline_data, ea_inode, meta_bg, quota, encryption,
// verity, case-insensitive directories, more than two index levels in a directory, external journals, checking and
// changing of existing file systems. Device nodes are written as the tree gives them.
//
// Sources: Documentation/filesystems/ext4 and fs/ext4 of Linux 6.12, e2fsprogs 1.47. The comments name functions there.
package ext
