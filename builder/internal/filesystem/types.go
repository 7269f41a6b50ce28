// SPDX-License-Identifier: Apache-2.0

// Package filesystem describes the file systems that an image can have: what writes each, its minimum size, the package
// with its fsck, its mount options, and the first release that reads it. All of that is one table, types. A new file
// system needs a row there, and a diskimage.Formatter or a program of the toolbox that writes it.
//
// Package diskimage writes ext2, ext3, ext4, f2fs, FAT and swap. Programs of the toolbox make btrfs, erofs,
// squashfs and xfs, since the releases whose programs keep every attribute; btrfs and squashfs keep times to
// the second. jfs is not supported: no program can fill it without mounting it.
package filesystem

import (
	"maps"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/formatters"
)

// Type is a type of file system. The zero Type stands for an unknown one: it has no writer and no package.
type Type struct {
	// Root and Boot report whether it can be the type of / and of a separate /boot.
	Root, Boot bool
	// Formatter writes it; nil if Program makes it.
	Formatter diskimage.Formatter
	Program   *Program
	// Package is the Debian package with its fsck and its mkfs program. It is installed in the target, for the
	// initramfs as well. Empty if every Debian system has them.
	Package string
	// Debian and Ubuntu are the first releases whose kernel and GRUB read it in the form made here; empty for all.
	Debian, Ubuntu string
	// Least is its minimum size, if a /boot could be smaller.
	Least diskimage.Size
	// Extlinux reports whether extlinux can be installed on it.
	Extlinux bool
	// UBoot reports whether U-Boot reads it, as Debian's packages for boards are configured.
	UBoot bool
	// MountOptions are its options in fstab(5); empty for "defaults".
	MountOptions string
	// ReadOnly reports whether it cannot be changed. Such a file system is as large as its content.
	ReadOnly bool
	// NoUUID reports whether it has no UUID.
	NoUUID bool
	// FsckInInitramfs reports whether there is a program that repairs it, and that the initramfs should
	// contain: what is damaged cannot be repaired from itself, and f2fs cannot be checked once it is mounted.
	FsckInInitramfs bool
	// NoGrowth says why it cannot grow with its partition and what to do instead; empty if it can.
	NoGrowth string
	// features returns the features for a release, for diskimage.Filesystem.Features; nil if there is no choice.
	features func(codename string) string
	// minimum returns the size that holds a tree and lets an ordinary user write free bytes; nil if it cannot be /.
	minimum func(f diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error)
}

// extOptions are the mount options of ext2, ext3 and ext4: how they react to errors.
const extOptions = "errors=remount-ro"

// types maps the names that mount(8) uses to the types.
var types = map[string]Type{
	"ext2": native("ext2", Type{Root: true, Boot: true, Extlinux: true, UBoot: true, FsckInInitramfs: true,
		MountOptions: extOptions}),
	"ext3": native("ext3", Type{Root: true, Boot: true, Extlinux: true, UBoot: true, FsckInInitramfs: true,
		MountOptions: extOptions}),
	"ext4": native("ext4", Type{Root: true, Boot: true, Extlinux: true, UBoot: true, FsckInInitramfs: true,
		MountOptions: extOptions, features: e2fsprogs}),
	// GRUB reads it since 2.04. An empty one needs 60 MiB. fsck.f2fs cannot check a mounted file system.
	"f2fs": native("f2fs", Type{
		Root: true, Boot: true, FsckInInitramfs: true,
		Package: "f2fs-tools", Debian: "buster", Ubuntu: "focal", Least: 64 * diskimage.MiB,
		NoGrowth: "f2fs grows only while it is not mounted: choose another --roottype, or run resize.f2fs from another system",
	}),
	"vfat": native("vfat", Type{Boot: true, Extlinux: true, UBoot: true}),
	"swap": native("swap", Type{}),

	"btrfs": {
		Root: true, Boot: true, minimum: btrfsEstimate.size,
		Program: &Program{args: mkfsBtrfs, Differs: "two images with btrfs differ, although their files are equal: " +
			"mkfs.btrfs records when files were read and changed on this machine, and makes IDs at random"},
		Package: "btrfs-progs", Debian: "wheezy", Ubuntu: "precise",
	},
	"erofs": {
		Root: true, ReadOnly: true, Program: &Program{args: mkfsErofs},
		Package: "erofs-utils", Debian: "bookworm", Ubuntu: "jammy",
	},
	"squashfs": {
		Root: true, ReadOnly: true, NoUUID: true, Program: &Program{args: mksquashfs, acls: squashfsACLs},
		Package: SquashTools, Debian: "buster", Ubuntu: "bionic",
	},
	"xfs": {
		Root: true, Boot: true, minimum: xfsEstimate.size, features: xfsKernel,
		Program: &Program{args: mkfsXFS, acls: xfsACLs, Complete: "forky",
			Differs: "images with xfs of two machines can differ, although their files are equal: mkfs.xfs takes files in the " +
				"order in which the file system below the state directory lists them"},
		Package: "xfsprogs", Debian: "buster", Ubuntu: "bionic", Least: 300 * diskimage.MiB,
	},
}

// native returns t with the Formatter and the minimum size from package diskimage.
func native(name string, t Type) Type {
	f, err := formatters.ByType(name)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	t.Formatter, t.minimum = f.Formatter, f.MinimumSize
	return t
}

// SquashTools is the Debian package with mksquashfs.
const SquashTools = "squashfs-tools"

// msdos is another name for FAT, as with mkfs.fat(8).
const msdos = "msdos"

// Lookup returns a type by its name, or the zero Type if it is unknown. msdos is vfat.
func Lookup(name string) Type { return types[Canonical(name)] }

// Canonical returns the name for mount(8). It turns msdos into vfat, since names of kernels are too long for the mount
// type msdos.
func Canonical(name string) string {
	if name == msdos {
		return "vfat"
	}
	return name
}

// ForRoot returns the types for /, sorted.
func ForRoot() []string { return names(func(t Type) bool { return t.Root }) }

// ForBoot returns the types for a separate /boot, sorted.
func ForBoot() []string {
	all := append(names(func(t Type) bool { return t.Boot }), msdos)
	slices.Sort(all)
	return all
}

func names(wanted func(Type) bool) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if wanted(types[name]) {
			all = append(all, name)
		}
	}
	return all
}

// Mount returns the options for fstab(5).
func (t Type) Mount() string {
	if t.MountOptions == "" {
		return "defaults"
	}
	return t.MountOptions
}

// Features returns the features of a file system type for a release, in the notation of what makes it.
func Features(name, codename string) string {
	if features := Lookup(name).features; features != nil {
		return features(codename)
	}
	return ""
}

// e2fsprogs returns the version of e2fsprogs whose features for ext4 a release uses. Bookworm and noble have
// 1.47 with the features of the version before (Debian bugs 1030939 and 1031622). Unknown releases get these
// as well: every kernel since 2018 reads them.
func e2fsprogs(codename string) string {
	if r, ok := debian.LookupRelease(codename); ok {
		switch {
		case r.Since("trixie", "plucky"):
			return ext.E2fsprogs147
		case !r.Since("buster", "bionic"):
			return ext.E2fsprogs142
		}
	}
	return ext.E2fsprogs144
}

// ReadBy reports whether the kernel and GRUB of a release read it in the form made here.
func (t Type) ReadBy(r debian.Release) bool { return t.Debian == "" || r.Since(t.Debian, t.Ubuntu) }
