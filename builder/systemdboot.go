package builder

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// systemdBootPackages bring systemd-boot and systemd-stub, what renews both on the EFI system partition, and kernel-install
// with ukify, which make unified kernel images of the kernels that the booted system gets later.
var systemdBootPackages = []string{"dosfstools", "systemd-boot", "systemd-boot-efi", "systemd-ukify"}

// systemdBootArches are those whose systemd-stub is a 64-bit program.
var systemdBootArches = []string{"amd64", "arm64", "riscv64"}

const (
	// systemdBootESP has room for some ten kernels with an initramfs of 40 MB (trixie's linux-image-amd64).
	systemdBootESP = 512 * diskimage.MiB
	// leastSystemdBootESP has room for one kernel and its successor.
	leastSystemdBootESP = 128 * diskimage.MiB
)

// systemdBootStarts holds before packages are downloaded. bookworm has a systemd-boot, but nothing that makes unified
// kernel images, so that its second kernel would not be one.
func systemdBootStarts(s Spec) []error {
	if s.loader() != loaderSystemdBoot {
		return nil
	}
	var problems []error
	if s.release.Vendor != debian.Debian || !s.release.Since("trixie", "") {
		problems = append(problems, problem("--boot", "%s has no systemd-ukify for the kernels of later upgrades: choose %s for "+
			"Debian since trixie, or --boot=%s", s.release.Codename, bootSystemd, bootHybrid)...)
	}
	if s.arch.Name != "" && s.arch.EFI != "" && !slices.Contains(systemdBootArches, s.arch.Name) {
		problems = append(problems, problem("--boot", "%s is not made for %s: use --grub with --use-uefi", bootSystemd, s.arch.Name)...)
	}
	if s.o.Image == "" {
		return problems
	}
	if s.o.PartType != string(diskimage.GPT) {
		problems = append(problems, problem("--part-type", "%s finds its partition on a GPT disk only: use --part-type=gpt", bootSystemd)...)
	}
	if s.o.Bootsize > 0 {
		problems = append(problems, problem("--bootsize", "%s starts kernels from the EFI system partition: use --esp-size", bootSystemd)...)
	}
	if s.espSize() < leastSystemdBootESP {
		problems = append(problems, problem("--esp-size", "%s is too small for two kernels: at least %s needed", s.espSize(), leastSystemdBootESP)...)
	}
	return problems
}
