package builder

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
)

// loader is how an image boots.
type loader string

const (
	loaderNone        loader = "no boot loader"
	loaderExtlinux    loader = "extlinux"
	loaderGrubBIOS    loader = "GRUB for BIOS"
	loaderGrubEFI     loader = "GRUB for UEFI"
	loaderGrubHybrid  loader = "GRUB for BIOS and UEFI"
	loaderSystemdBoot loader = "systemd-boot"
)

// The values of --boot. Without it --extlinux, --grub and --use-uefi choose, as they always have.
const (
	bootNone     = "none"
	bootExtlinux = "extlinux"
	bootGrub     = "grub"
	bootHybrid   = "hybrid"
	bootSystemd  = "systemd-boot"
)

// bootWords are the values of --boot, in the order of its help.
var bootWords = []string{bootNone, bootExtlinux, bootGrub, bootHybrid, bootSystemd}

// loaderOf applies the rules: --boot names the loader, and --use-uefi says which GRUB; without --boot UEFI needs GRUB,
// and GRUB replaces extlinux. extlinux, which is on by default, is for PCs: on other machines it is nothing unless --boot
// names it, which loaderNeedsBIOS refuses.
func loaderOf(o Options) loader {
	switch o.Boot {
	case bootNone:
		return loaderNone
	case bootExtlinux:
		return loaderExtlinux
	case bootHybrid:
		return loaderGrubHybrid
	case bootSystemd:
		return loaderSystemdBoot
	}
	switch {
	case o.UseUEFI:
		return loaderGrubEFI
	case o.Grub || o.Boot == bootGrub:
		return loaderGrubBIOS
	case o.Extlinux && mayBePC(o.Arch):
		return loaderExtlinux
	default:
		return loaderNone
	}
}

// mayBePC reports whether machines of an architecture can have a BIOS. Of an unknown one it says so: that has an error
// of its own.
func mayBePC(arch string) bool {
	a, ok := debian.LookupArch(arch)
	return !ok || a.PC
}

// loader is how the image is to boot.
func (s Spec) loader() loader { return loaderOf(s.o) }

// grub reports whether it is one of the GRUBs.
func (l loader) grub() bool {
	return l == loaderGrubBIOS || l == loaderGrubEFI || l == loaderGrubHybrid
}

// grubBIOS reports whether GRUB starts from a BIOS.
func (l loader) grubBIOS() bool { return l == loaderGrubBIOS || l == loaderGrubHybrid }

// bios reports whether code in sector 0 starts it.
func (l loader) bios() bool { return l == loaderExtlinux || l.grubBIOS() }

// uefi reports whether UEFI firmware starts it, from an EFI system partition.
func (l loader) uefi() bool {
	return l == loaderGrubEFI || l == loaderGrubHybrid || l == loaderSystemdBoot
}

// loaderFlag is the option that chose the loader, for messages.
func (s Spec) loaderFlag() string {
	switch {
	case s.o.Boot != "":
		return "--boot"
	case s.o.UseUEFI:
		return "--use-uefi"
	case s.o.Grub:
		return "--grub"
	default:
		return "--extlinux"
	}
}

func bootKnown(s Spec) []error {
	if s.o.Boot == "" {
		return nil
	}
	return oneOf("--boot", s.o.Boot, bootWords)
}

// bootAgrees: --boot and the older options for the same thing do not contradict each other. --extlinux is on unless it
// is turned off, so it contradicts nothing.
func bootAgrees(s Spec) []error {
	if s.o.Boot == "" || !slices.Contains(bootWords, s.o.Boot) {
		return nil
	}
	var problems []error
	if s.o.Grub && !s.loader().grub() {
		problems = append(problems, problem("--boot", "%s and --grub exclude each other", s.o.Boot)...)
	}
	if s.o.UseUEFI && !s.loader().uefi() {
		problems = append(problems, problem("--boot", "UEFI does not start %s: drop --use-uefi, or choose %s or %s", s.o.Boot,
			bootGrub, bootHybrid)...)
	}
	return problems
}

// loaderNeedsBIOS: an image whose boot loader a BIOS starts is one for a PC. (For arm64 without UEFI arm64NeedsUEFI has words of
// its own, and in a tarball nothing boots.)
func loaderNeedsBIOS(s Spec) []error {
	plainARM64 := s.arch.Name == "arm64" && !s.loader().uefi()
	if s.o.Image == "" || !s.loader().bios() || s.arch.Name == "" || s.arch.PC || plainARM64 {
		return nil
	}
	return problem(s.loaderFlag(), "%s has no BIOS: use --grub with --use-uefi, or --boot=%s", s.arch.Name, bootNone)
}

// BootLoaders lists the values of --boot.
func BootLoaders() []string { return slices.Clone(bootWords) }
