// SPDX-License-Identifier: Apache-2.0

// Package extread reads ext2, ext3 and ext4 file systems out of an image file, without mounting anything.
//
//	fs, err := extread.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system, with owners, times,
// extended attributes, hard links and holes. Names come parents first and in byte order. Every number on the disk is
// taken for hostile: what points outside of the file system, or in a circle, is an error that names the inode.
//
// All block and inode sizes are read, and what mke2fs makes for Linux since 2.4. Not supported, and refused:
// file systems whose journal has to be replayed (a machine that was not shut down), inline data, encryption,
// attribute values in inodes of their own, compression, external journals.
//
// Sources: Documentation/filesystems/ext4 and fs/ext4 of Linux 6.12.
package extread
