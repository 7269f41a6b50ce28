// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/luks"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/verity"
)

// tableTypes are the values of --part-type.
var tableTypes = []string{"gpt", "msdos"}

// TableTypes lists the values of --part-type.
func TableTypes() []string { return slices.Clone(tableTypes) }

// RootTypes lists the values of --roottype.
func RootTypes() []string { return filesystem.ForRoot() }

// BootTypes lists the values of --boottype.
func BootTypes() []string { return filesystem.ForBoot() }

func filesystemTypes(s Spec) []error {
	return append(filesystemType(s, "--roottype", s.o.Roottype, filesystem.ForRoot()),
		filesystemType(s, "--boottype", s.o.Boottype, filesystem.ForBoot())...)
}

// filesystemType: it can be made, and the kernel of the release reads it.
func filesystemType(s Spec, flag, fstype string, choices []string) []error {
	if slices.Contains(choices, fstype) && s.o.Image != "" && !filesystem.Lookup(fstype).ReadBy(s.release) {
		return problem.New(flag, "the kernel of %s does not read %s as it is made today: choose ext4",
			s.release.Codename, fstype)
	}
	return problem.OneOf(flag, fstype, choices)
}

// bootLargeEnough: no file system is smaller than it can be.
func bootLargeEnough(s Spec) []error {
	least := filesystem.Lookup(s.o.Boottype).Least
	if s.o.Image == "" || s.o.Bootsize == 0 || s.o.Bootsize >= least {
		return nil
	}
	return problem.New("--bootsize", "%s is too small for %s: at least %s needed", s.o.Bootsize, s.o.Boottype, least)
}

// readOnlyNeedsInitramfs: it is the initramfs that makes such a system writable.
func readOnlyNeedsInitramfs(s Spec) []error {
	switch {
	case !s.readOnly() || s.o.Image == "" || s.o.UpdateInitramfs:
		return nil
	case s.o.Verity:
		return problem.New("--verity", "requires updating the initramfs, which sets up the root device: drop "+
			"--no-update-initramfs")
	}
	return problem.New("--roottype", "%s requires updating the initramfs: drop --no-update-initramfs", s.o.Roottype)
}

func partitionTable(s Spec) []error { return problem.OneOf("--part-type", s.o.PartType, tableTypes) }

func bootFlagKnown(s Spec) []error {
	if s.o.Bootflag == "" || len(partitionTable(s)) > 0 {
		return nil
	}
	flags := diskimage.TableKind(s.o.PartType).Flags()
	if slices.Contains(flags, s.o.Bootflag) {
		return nil
	}
	return problem.New("--bootflag", "%q is no flag of a partition in a table of --part-type=%s: choose from %s",
		s.o.Bootflag, s.o.PartType, strings.Join(flags, ", "))
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
			problems = append(problems, problem.New(flag, "%s does not fit into an image of %s: make --size larger",
				size, s.o.Size)...)
			return
		}
		left -= size
	}
	if s.loader.UEFI() {
		take("--esp-size", s.espSize())
	}
	take("--bootoffset", s.o.Bootoffset)
	take("--bootsize", s.o.Bootsize)
	take("--swap", s.o.Swap)
	if s.o.LUKS {
		take("--luks", luks.HeaderSize)
	}
	if s.o.Verity {
		take("--verity", verity.HashSize(s.o.Size))
	}
	if s.o.Verity && s.o.AB != "" {
		take("--ab", verity.HashSize(s.o.Size))
	}
	return problems
}

func freeNeedsAuto(s Spec) []error {
	if s.o.Free != defaultFree && !s.o.SizeAuto {
		return problem.New("--free", "is for --size=auto: a disk of a given size has the space that is left")
	}
	if s.o.AB != "" { // for larger versions
		return nil
	}
	if s.o.Free != defaultFree && filesystem.Lookup(s.o.Roottype).ReadOnly {
		return problem.New("--free", "is of no use with --roottype=%s: it is as large as its content", s.o.Roottype)
	}
	if s.o.Free != defaultFree && s.o.Verity {
		return problem.New("--free", "is of no use with --verity: nothing is written to the root file system")
	}
	return nil
}

// growPossible: the disk has a root partition that can become larger, and the system has systemd-growfs.
func growPossible(s Spec) []error {
	switch {
	case !s.o.Grow:
		return nil
	case s.o.Image == "":
		return problem.New("--grow", "needs --image as well")
	case s.o.Verity:
		return problem.New("--grow", "a root file system with --verity never changes: drop one of them")
	case filesystem.Lookup(s.o.Roottype).ReadOnly:
		return problem.New("--grow", "a root file system of type %s never changes: choose another --roottype",
			s.o.Roottype)
	case filesystem.Lookup(s.o.Roottype).NoGrowth != "":
		return problem.New("--grow", "%s", filesystem.Lookup(s.o.Roottype).NoGrowth)
	case !s.release.Since("bullseye", "focal"):
		return problem.New("--grow", "%s is too old: it needs the systemd of Debian bullseye or Ubuntu focal",
			s.release.Codename)
	}
	return nil
}
