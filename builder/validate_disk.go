package builder

import (
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// What disks can be made of.
var (
	rootTypes  = []string{"btrfs", "ext2", "ext3", "ext4"}
	bootTypes  = []string{"btrfs", "ext2", "ext3", "ext4", "msdos", "vfat"}
	tableTypes = []string{"gpt", "msdos"}
)

// isExt reports whether a file system is one of the ext family.
func isExt(fstype string) bool { return fstype == "ext2" || fstype == "ext3" || fstype == "ext4" }

// oneOf gives a problem unless value is one of choices.
func oneOf(flag, value string, choices []string) []error {
	if slices.Contains(choices, value) {
		return nil
	}
	return problem(flag, "%q is not known: choose from %s", value, strings.Join(choices, ", "))
}

func filesystemTypes(s Spec) []error {
	return append(oneOf("--roottype", s.o.Roottype, rootTypes), oneOf("--boottype", s.o.Boottype, bootTypes)...)
}

// bootType is the file system of /boot: mkfs.fat(8) calls FAT both ways, and with the mount(8) type msdos it would have
// no room for a kernel's name.
func bootType(o Options) string {
	if o.Boottype == "msdos" {
		return "vfat"
	}
	return o.Boottype
}

// extlinuxReads holds the file systems that extlinux is installed on; btrfs has words of its own.
func extlinuxReads(s Spec) []error {
	if s.loader() != loaderExtlinux || s.o.Image == "" {
		return nil
	}
	if fstype := bootType(s.o); s.o.Bootsize > 0 {
		if slices.Contains(bootTypes, fstype) && !isExt(fstype) && fstype != "vfat" {
			return problem("--boottype", "extlinux cannot be on %s: choose ext2, ext3, ext4 or vfat, or use --grub", fstype)
		}
		return nil
	}
	return nil
}

func partitionTable(s Spec) []error { return oneOf("--part-type", s.o.PartType, tableTypes) }

func bootFlagKnown(s Spec) []error {
	if s.o.Bootflag == "" || len(partitionTable(s)) > 0 {
		return nil
	}
	flags := diskimage.TableKind(s.o.PartType).Flags()
	if slices.Contains(flags, s.o.Bootflag) {
		return nil
	}
	return problem("--bootflag", "%q is no flag of a partition in a table of --part-type=%s: choose from %s", s.o.Bootflag, s.o.PartType, strings.Join(flags, ", "))
}

// partitionsFit: what is asked for beside the root partition leaves room for it. Whether the packages fit into the
// rest is known only after they are installed.
func partitionsFit(s Spec) []error {
	if s.o.Image == "" || s.o.SizeAuto || s.o.Size <= minImage {
		return nil
	}
	var problems []error
	left := s.o.Size
	take := func(flag string, size diskimage.Size) {
		if size >= left {
			problems = append(problems, problem(flag, "%s does not fit into an image of %s: make --size larger",
				size, s.o.Size)...)
			return
		}
		left -= size
	}
	if s.loader().uefi() {
		take("--esp-size", s.espSize())
	}
	take("--bootoffset", s.o.Bootoffset)
	take("--bootsize", s.o.Bootsize)
	take("--swap", s.o.Swap)
	return problems
}

func freeNeedsAuto(s Spec) []error {
	if s.o.Free != defaultFree && !s.o.SizeAuto {
		return problem("--free", "is for --size=auto: a disk of a given size has the space that is left")
	}
	return nil
}

// sectorSizeBoots: the code that a BIOS runs, and syslinux and GRUB after it, count in sectors of 512 bytes.
func sectorSizeBoots(s Spec) []error {
	switch s.o.SectorSize {
	case diskimage.SectorSize:
		return nil
	case diskimage.SectorSize4K:
	default:
		return problem("--sector-size", "%d is not possible: choose 512 or 4096", uint64(s.o.SectorSize))
	}
	if l := s.loader(); s.o.Image != "" && l.bios() {
		return problem("--sector-size", "%s cannot be booted from sectors of 4096 bytes: use --grub with --use-uefi, or --boot=%s", l, bootNone)
	}
	return nil
}
