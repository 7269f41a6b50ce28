// SPDX-License-Identifier: Apache-2.0

// Package filesystem knows the file systems that an image can hold: who writes each, how small it can be, which package
// checks it, how it is mounted, since which release it is read. All of that is one table, types; a new file system is a
// row in it, and a diskimage.Formatter or a program of the toolbox that writes it.
//
// ext2, ext3, ext4, f2fs, FAT and swap are written by package diskimage. btrfs, erofs, squashfs and xfs are made by the
// toolbox's programs, as far as these keep every attribute; btrfs and squashfs keep times to the second. jfs is not
// supported: no program fills it without mounting it.
package filesystem

import (
	"maps"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/formatters"
)

// Type is one type of file system. The zero Type is that of what is unknown: it has no writer and no package.
type Type struct {
	// Root and Boot say that it can be the type of / and of a separate /boot.
	Root, Boot bool
	// Formatter writes it; nil if Program makes it.
	Formatter diskimage.Formatter
	Program   *Program
	// Package is Debian's package with its fsck, which the target gets for itself and its initramfs, and with its
	// program; empty if each Debian has one.
	Package string
	// Debian and Ubuntu are the first releases whose kernels and GRUB read it as it is made here; empty for all.
	Debian, Ubuntu string
	// Least is the smallest that there is, if a /boot could be smaller.
	Least diskimage.Size
	// Extlinux says that extlinux can be installed on it.
	Extlinux bool
	// MountOptions are those of fstab(5); empty for "defaults".
	MountOptions string
	// ReadOnly says that it never changes, and is as large as its content.
	ReadOnly bool
	// NoUUID says that it has no ID of its own.
	NoUUID bool
	// FsckFirst says that the initramfs has to check it before it is mounted: systemd could not afterwards.
	FsckFirst bool
	// NoGrowth says why it cannot become larger with its partition, and what to do; empty if it can.
	NoGrowth string
	// features names the features that a release gets, as diskimage.Filesystem.Features; nil if there is no choice.
	features func(codename string) string
	// minimum is the size that holds a tree and lets an ordinary user write free bytes; nil if it is never of the root.
	minimum func(f diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error)
}

// extOptions are the mount options of ext2, ext3 and ext4: what they do about damage.
const extOptions = "errors=remount-ro"

// types are all file systems, by the names of mount(8).
var types = map[string]Type{
	"ext2": native("ext2", Type{Root: true, Boot: true, Extlinux: true, MountOptions: extOptions}),
	"ext3": native("ext3", Type{Root: true, Boot: true, Extlinux: true, MountOptions: extOptions}),
	"ext4": native("ext4", Type{Root: true, Boot: true, Extlinux: true, MountOptions: extOptions, features: e2fsprogs}),
	// GRUB reads it since 2.04. An empty one has 60 MiB. fsck.f2fs cannot open what is mounted.
	"f2fs": native("f2fs", Type{
		Root: true, Boot: true, FsckFirst: true,
		Package: "f2fs-tools", Debian: "buster", Ubuntu: "focal", Least: 64 * diskimage.MiB,
		NoGrowth: "f2fs grows only while it is not mounted: choose another --roottype, or run resize.f2fs from another system",
	}),
	"vfat": native("vfat", Type{Boot: true, Extlinux: true}),
	"swap": native("swap", Type{}),

	"btrfs": {
		Root: true, Boot: true, Program: &Program{args: mkfsBtrfs}, minimum: btrfsEstimate.size,
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
		Root: true, Boot: true, Program: &Program{args: mkfsXFS, acls: xfsACLs, Complete: "forky"},
		minimum: xfsEstimate.size, features: xfsKernel,
		Package: "xfsprogs", Debian: "buster", Ubuntu: "bionic", Least: 300 * diskimage.MiB,
	},
}

// native is a type that package diskimage writes.
func native(name string, t Type) Type {
	f, err := formatters.ByType(name)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	t.Formatter, t.minimum = f.Formatter, f.MinimumSize
	return t
}

// SquashTools is the package with mksquashfs.
const SquashTools = "squashfs-tools"

// msdos is another name of FAT: mkfs.fat(8) calls it both ways.
const msdos = "msdos"

// Lookup returns a type by its name; msdos is vfat. An unknown one is the zero Type.
func Lookup(name string) Type { return types[Canonical(name)] }

// Canonical returns the name that the kernel has to be told. With the mount(8) type msdos a FAT would have no
// room for a kernel's name.
func Canonical(name string) string {
	if name == msdos {
		return "vfat"
	}
	return name
}

// ForRoot lists the types that / can be of, sorted.
func ForRoot() []string { return names(func(t Type) bool { return t.Root }) }

// ForBoot lists the types that a separate /boot can be of, sorted.
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

// Mount returns the options of fstab(5).
func (t Type) Mount() string {
	if t.MountOptions == "" {
		return "defaults"
	}
	return t.MountOptions
}

// Features names the features that a file system of a type has for a release, in the words of what makes it.
func Features(name, codename string) string {
	if features := Lookup(name).features; features != nil {
		return features(codename)
	}
	return ""
}

// e2fsprogs is the generation of a release's e2fsprogs, by what its mke2fs chooses for ext4. Bookworm has 1.47 and the
// features of the one before (Debian bugs 1030939 and 1031622), as has noble. What is not known gets those as well:
// everything since 2018 reads them.
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

// ReadBy reports whether the kernel and GRUB of a release read it as it is made here.
func (t Type) ReadBy(r debian.Release) bool { return t.Debian == "" || r.Since(t.Debian, t.Ubuntu) }
