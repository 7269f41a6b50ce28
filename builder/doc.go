// SPDX-License-Identifier: Apache-2.0

// Package builder decides what an image holds and has it made.
//
// Options are what the user asked for. NewSpec checks them, all mistakes at once, and fills the gaps. Resolve
// asks the outside world what the build depends on and returns a Lock. NewPlan makes a Plan of both: steps on
// a root file system, which are plain data, and the layout of the disk. An Executor carries the plan out and
// returns a Result, which writes the outputs: a disk image, a tarball, a list of packages.
//
//	Options ──NewSpec──▶ Spec ──Resolve──▶ Lock
//	                      └──────NewPlan────┘
//	                               ▼
//	                     Plan ──Executor.Build──▶ Result ──▶ image, tarball, squashfs
//
// An Assembly is the lower half of that: it makes a disk image of a root file system that is there already, a
// Source, and needs no Executor unless a program makes one of the file systems.
//
// NewSpec and NewPlan are pure. Programs run only through the interface Target, so that the steps can be
// tested without containers; package oci has the real ones. Two containers take part: the toolbox, which
// holds debootstrap and the boot loader's files and is thrown away, and the target, which becomes the image.
// Both come from Debian packages alone, so that the host's own release and programs never change the result.
//
// File systems are ours (ext2, ext3, ext4, f2fs, FAT, swap) or of the toolbox's mkfs programs (btrfs, erofs,
// squashfs, xfs), as far as those keep every attribute; btrfs and squashfs keep times to the second. A root
// that never changes gets an overlay in memory from its initramfs.
//
// Not supported: jfs, which no program fills without mounting it.
package builder
