package builder

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// loaderOf is how an image is to boot.
func loaderOf(o Options) boot.Loader {
	arch, known := debian.LookupArch(o.Arch)
	return boot.Choose(boot.Choice{
		Word: o.Boot, UseUEFI: o.UseUEFI, Grub: o.Grub, Extlinux: o.Extlinux,
		PC: arch.PC || !known, // of an unknown one there is an error of its own
	})
}

// bootRequest is what the boot loader has to know.
func (s Spec) bootRequest() boot.Request {
	r := boot.Request{
		UseUEFI: s.o.UseUEFI, Arch: s.arch, Release: s.release,
		Image: s.o.Image != "", Table: diskimage.TableKind(s.o.PartType), SectorSize: s.o.SectorSize,
		Bootsize: s.o.Bootsize, Roottype: s.o.Roottype, Boottype: filesystem.Canonical(s.o.Boottype),
	}
	// The manual's default, 5 MiB, does not hold shim and GRUB; it stands for "large enough".
	if s.o.ESPSize != defaultESPSize {
		r.ESPSize = s.o.ESPSize
	}
	return r
}

// espSize is the length of the EFI system partition.
func (s Spec) espSize() diskimage.Size { return s.bootRequest().ESP(s.loader) }

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
	return problem.OneOf("--boot", s.o.Boot, boot.Words())
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
		problems = append(problems, problem.New("--boot", "UEFI does not start %s: drop --use-uefi, or choose %s or %s", s.o.Boot,
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
	return problem.New(s.loaderFlag(), "%s has no BIOS: use --grub with --use-uefi, or --boot=%s", s.arch.Name, boot.WordNone)
}

// loaderFits: what the boot loader itself asks for.
func loaderFits(s Spec) []error { return s.loader.Check(s.bootRequest()) }
