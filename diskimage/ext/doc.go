// SPDX-License-Identifier: Apache-2.0

// Package ext writes ext2, ext3 and ext4 file systems without mounting anything and without root.
//
// A Formatter plans the whole file system first: it reads names and metadata of a diskimage.Tree
// and decides the number of each inode and the location of each block. Writing the plan, a
// diskimage.Volume, then writes the data of files, which a few workers read at once, in the order
// of the disk, then the metadata from memory, and the superblocks last. Blocks of zeros are never
// written, so that an image file stays sparse. Large files share their blocks with the tree instead
// of being copied if both are on the same file system and it supports that (btrfs, xfs).
//
// The result is that of mke2fs(8) with the same parameters: 4 KiB blocks, 256-byte inodes, an inode
// for each 16 KiB, 5 % of the blocks reserved for root, the same journal, the same room to grow
// with resize2fs(8), the same features (features.go lists them by generation of e2fsprogs). Unlike
// "mke2fs -d" it keeps nanoseconds, times after 2038, hard links of all kinds and access control
// lists, indexes large directories, and keeps exactly the holes of the tree: a block of zeros in a
// file remains a block, because boot loaders cannot read holes.
//
// The same tree and parameters produce the same bytes on every machine: the UUID, the seed of the
// directory hash and all times except those in the tree come from diskimage.Filesystem, and the
// order from the tree. Inodes get that time as access, change and creation time. Modification times
// outside of 1901 to 2446 become the nearest valid time.
//
// "make bench-disk" compares the speed with mke2fs and a plain copy. Names and metadata are kept in
// memory, 400 bytes for each file; contents are not.
//
// Two limits of boot loaders: GRUB 2.06 cannot read a file that begins with a hole, and syslinux
// cannot read holes at all. Set Dense for the files that they read.
//
// Not supported: other block and inode sizes; more than 2^32-1 blocks (16 TiB); extended attributes
// that need more than one block, or with names that ext4 does not know; bigalloc, inline_data,
// ea_inode, meta_bg, quota, encryption, verity, case-insensitive directories, more than two index
// levels in a directory, external journals, and checking or changing existing file systems. Device
// nodes are written as they are in the tree.
//
// Sources: Documentation/filesystems/ext4 and fs/ext4 of Linux 6.12, e2fsprogs 1.47. The comments
// name functions there.
package ext
