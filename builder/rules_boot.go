// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"path"
	"regexp"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func bootKnown(s Spec) []error {
	if s.o.Boot == "" {
		return nil
	}
	return problem.OneOf("--boot", s.o.Boot, boot.Words())
}

// bootstrapKnown: --bootstrap is one of its words.
func bootstrapKnown(s Spec) []error {
	if s.o.Bootstrap == "" {
		return nil
	}
	return problem.OneOf("--bootstrap", s.o.Bootstrap, BootstrapWords())
}

// bootAgrees: --boot and the older options for the same thing do not contradict each other. --extlinux is on unless it
// is turned off, so it contradicts nothing.
func bootAgrees(s Spec) []error {
	if s.o.Boot == "" || !slices.Contains(boot.Words(), s.o.Boot) {
		return nil
	}
	var problems []error
	if _, isGrub := s.loader.(boot.GRUB); s.o.Grub && !isGrub {
		problems = append(problems, problem.New("--boot", "%s and --grub exclude each other", s.o.Boot)...)
	}
	if s.o.UseUEFI && !s.loader.UEFI() {
		problems = append(problems, problem.New("--boot", "UEFI does not start %s: drop --use-uefi, or choose %s or %s",
			s.o.Boot,
			boot.WordGRUB, boot.WordHybrid)...)
	}
	return problems
}

// loaderNeedsBIOS: an image whose boot loader a BIOS starts is one for a PC. (For arm64 without UEFI arm64NeedsUEFI has
// words of its own, and in a tarball nothing boots.)
func loaderNeedsBIOS(s Spec) []error {
	plainARM64 := s.arch.Name == "arm64" && !s.loader.UEFI()
	if s.o.Image == "" || !s.loader.BIOS() || s.arch.Name == "" || s.arch.PC || plainARM64 {
		return nil
	}
	return problem.New(s.loaderFlag(), "%s has no BIOS: use %s--boot=%s", s.arch.Name, s.uefiLoaders(), boot.WordNone)
}

// uefiLoaders names what boots an image of the architecture by UEFI, as the beginning of a list of alternatives: "" if
// nothing does.
func (s Spec) uefiLoaders() string {
	if s.arch.EFI == "" {
		return ""
	}
	return "--grub with --use-uefi, or "
}

// loaderFits: what the boot loader itself asks for.
func loaderFits(s Spec) []error { return s.loader.Check(s.bootRequest()) }

// bootMountFits: the partition is mounted in /boot, where no boot loader looks for kernels.
func bootMountFits(s Spec) []error {
	dir := s.o.BootMount
	_, none := s.loader.(boot.None)
	switch {
	case dir == boot.DefaultMount:
		return nil
	case !mountWord.MatchString(dir) || path.Clean(dir) != dir || dir == "/boot/efi":
		return problem.New("--boot-mount", "%q is neither /boot nor a directory in /boot, such as /boot/firmware", dir)
	case s.o.Image == "" || s.o.Bootsize == 0:
		return problem.New("--boot-mount", "needs --image and --bootsize as well")
	case !none:
		return problem.New("--boot-mount", "%s reads /boot: add --boot=%s, for a machine that starts what is in %s", s.loader,
			boot.WordNone, dir)
	}
	return nil
}

// mountWord matches a directory that neither fstab(5) nor a shell would read as several words.
var mountWord = regexp.MustCompile(`^/boot/[A-Za-z0-9._/+-]+$`)

// sectorSizeBoots: the code that a BIOS runs, and syslinux and GRUB after it, count in sectors of 512 bytes.
func sectorSizeBoots(s Spec) []error {
	switch s.o.SectorSize {
	case diskimage.SectorSize:
		return nil
	case diskimage.SectorSize4K:
	default:
		return problem.New("--sector-size", "%d is not possible: choose 512 or 4096", uint64(s.o.SectorSize))
	}
	if l := s.loader; s.o.Image != "" && l.BIOS() {
		return problem.New("--sector-size",
			"%s cannot be booted from sectors of 4096 bytes: use --grub with --use-uefi, --boot=%s with "+
				"--part-type=gpt, or --boot=%s", l, boot.WordSystemdBoot, boot.WordNone)
	}
	return nil
}

func espNeedsUEFI(s Spec) []error {
	if s.o.ESPSize != defaultESPSize && !s.loader.UEFI() {
		return problem.New("--esp-size", "needs --use-uefi as well")
	}
	return nil
}

func arm64NeedsUEFI(s Spec) []error {
	// With a kernel, the tarball is that of a disk, as it always was.
	boots := s.o.Image != "" || s.o.Tarball != "" && !s.o.NoKernel
	if boots && s.arch.Name == "arm64" && !s.loader.UEFI() && !s.UsesUBoot() && s.o.Boot != boot.WordNone {
		return problem.New("--arch", "only UEFI and U-Boot are supported on arm64: add --use-uefi and --grub, --boot=%s, or "+
			"--boot=%s", boot.WordUBoot, boot.WordNone)
	}
	return nil
}

func uefiArch(s Spec) []error {
	if s.loader.UEFI() && s.arch.Name != "" && s.arch.EFI == "" {
		return problem.New(s.loaderFlag(), "%s is not a supported UEFI architecture", s.arch.Name)
	}
	return nil
}

func uefiExcludesBoot(s Spec) []error {
	if !s.o.UseUEFI {
		return nil
	}
	var problems []error
	if s.o.Bootsize > 0 {
		problems = append(problems,
			problem.New("--bootsize", "a separate boot partition is not supported with UEFI")...)
	}
	if s.o.Bootoffset > 0 {
		problems = append(problems, problem.New("--bootoffset",
			"a separate boot partition or space before it is not supported with UEFI")...)
	}
	return problems
}

func uefiNeedsGrub(s Spec) []error {
	if s.o.UseUEFI && !s.o.Grub && s.o.Boot == "" {
		return problem.New("--use-uefi", "UEFI without Grub is not supported: add --grub")
	}
	return nil
}

func wheezyUEFI(s Spec) []error {
	if s.isWheezy() && s.o.UseUEFI && s.arch.Name != "amd64" {
		return problem.New("--use-uefi", "Only amd64 supports UEFI in Wheezy")
	}
	return nil
}
