package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/swap"
)

// traits are what there is to know of a file system beside how it is made.
type traits struct {
	// pkg is Debian's package with its fsck, which the target gets for itself and its initramfs; empty if each Debian has
	// one.
	pkg string
	// debian and ubuntu are the first releases whose kernels and GRUB read it as it is made here; empty for all.
	debian, ubuntu string
	// least is the smallest that there is, if a /boot could be smaller.
	least diskimage.Size
}

// ownFilesystem is a file system that needs no program.
type ownFilesystem struct {
	traits
	diskimage.Formatter
	// minimum is the size that holds a tree and lets an ordinary user write free bytes; nil if it is never of the root.
	minimum func(f diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error)
	// extlinux says that extlinux can be on it.
	extlinux bool
}

// ownFilesystems are the file systems that need no program, by type.
var ownFilesystems = map[string]ownFilesystem{
	"ext2": {Formatter: ext.Formatter{}, minimum: ext.MinimumSize, extlinux: true},
	"ext3": {Formatter: ext.Formatter{}, minimum: ext.MinimumSize, extlinux: true},
	"ext4": {Formatter: ext.Formatter{}, minimum: ext.MinimumSize, extlinux: true},
	// GRUB reads it since 2.04. An empty one has 60 MiB.
	"f2fs": {
		Formatter: f2fs.Formatter{}, minimum: f2fs.MinimumSize,
		traits: traits{pkg: "f2fs-tools", debian: "buster", ubuntu: "focal", least: 64 * diskimage.MiB},
	},
	"vfat": {Formatter: fat.Formatter{}, extlinux: true},
	"swap": {Formatter: swap.Formatter{}},
}

// traitsOf gives the traits of a file system of any kind.
func traitsOf(fstype string) traits {
	if p, ok := mkfsPrograms[fstype]; ok {
		return p.traits
	}
	return ownFilesystems[fstype].traits
}

// filesystemPackages are the packages of the disk's file systems that the target needs.
func (s Spec) filesystemPackages() []string {
	if s.o.Image == "" {
		return nil
	}
	types := []string{s.o.Roottype}
	if s.o.Bootsize > 0 {
		types = append(types, s.o.Boottype)
	}
	var packages []string
	for _, fstype := range types {
		if pkg := traitsOf(fstype).pkg; pkg != "" {
			packages = append(packages, pkg)
		}
	}
	return packages
}
