// SPDX-License-Identifier: Apache-2.0

// Package extread reads ext2, ext3 and ext4 file systems from an image file, without mounting
// anything.
//
//	fs, err := extread.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system,
// with owners, times, extended attributes, hard links and holes. Parents come before their
// children, and names are in byte order. No number on the disk is trusted: references outside of
// the file system, or in a circle, are errors that name the inode.
//
// With metadata_csum, everything that is read has its checksum verified: the superblock, group
// descriptors, inodes, nodes of extent trees, blocks of directories and of extended attributes.
// Damage is then an error, and never another tree. Contents of files, long texts of symbolic links
// and indirect blocks have no checksums in ext4. Without the feature, what is recorded twice is
// compared: types and numbers of names, "." and "..", and the checksums of uninit_bg.
//
// It reads all block and inode sizes, and what mke2fs creates for Linux since 2.4. Not supported,
// and rejected: file systems whose journal must be replayed (the machine was not shut down), inline
// data, encryption, attribute values in separate inodes, compression, external journals.
//
// Sources: Documentation/filesystems/ext4 and fs/ext4 of Linux 6.12.
package extread
