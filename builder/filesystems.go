package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/formatters"
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
	// features names the features that a release gets, as diskimage.Filesystem.Features; nil if there is no choice.
	features func(codename string) string
}

// ownFilesystem is a file system that needs no program.
type ownFilesystem struct {
	traits
	formatters.Formatter
	// extlinux says that extlinux can be on it.
	extlinux bool
}

// ownFilesystems are the file systems that need no program, by type.
var ownFilesystems = map[string]ownFilesystem{
	"ext2": {Formatter: own("ext2"), extlinux: true},
	"ext3": {Formatter: own("ext3"), extlinux: true},
	"ext4": {Formatter: own("ext4"), extlinux: true, traits: traits{features: e2fsprogs}},
	// GRUB reads it since 2.04. An empty one has 60 MiB.
	"f2fs": {
		Formatter: own("f2fs"),
		traits:    traits{pkg: "f2fs-tools", debian: "buster", ubuntu: "focal", least: 64 * diskimage.MiB},
	},
	"vfat": {Formatter: own("vfat"), extlinux: true},
	"swap": {Formatter: own("swap")},
}

func own(fstype string) formatters.Formatter {
	f, err := formatters.ByType(fstype)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return f
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

// featuresOf names the features that a file system has for a release, in the words of what makes it.
func featuresOf(fstype, codename string) string {
	if features := traitsOf(fstype).features; features != nil {
		return features(codename)
	}
	return ""
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
