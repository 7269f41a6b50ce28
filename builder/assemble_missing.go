package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// missing lists what the disk needs of the root file system and cannot get elsewhere, each with the option that would
// change that.
func missing(s Spec, d Disk, f *treeFiles) []error {
	var problems []error
	lacks := func(flag, format string, args ...any) { problems = append(problems, problem(flag, format, args...)...) }
	there := func(name string) bool {
		_, err := f.index.Follow(name)
		return err == nil
	}
	for _, b := range d.Blobs {
		if _, err := f.index.File(b.File); b.Rootfs && err != nil {
			lacks("--raw", "the root file system has no file %s", b.File)
		}
	}
	// Before trixie /usr need not be merged.
	if d.Grow != growNothing && !there(d.Grow.file()) && !there(strings.TrimPrefix(d.Grow.file(), "/usr")) {
		lacks("--grow", "the root file system has no %s: add the package %s to it", d.Grow.file(), strings.Join(s.growPackages(), " "))
	}
	if d.Loader == loaderNone {
		return problems
	}
	flag, none := s.loaderFlag(), "or write an image that does not boot with --boot="+bootNone
	kernels, err := d.kernels(f)
	if err != nil {
		return append(problems, err)
	}
	if len(kernels) == 0 {
		lacks(flag, "the root file system has no kernel (/boot/vmlinuz-VERSION): add a package like linux-image-%s to it, %s", s.Arch().Name, none)
	}
	for _, k := range kernels {
		if !k.Initrd {
			lacks(flag, "kernel %s has no initramfs (/boot/initrd.img-%s), which finds the root file system: make it with update-initramfs, %s",
				k.Version, k.Version, none)
		}
	}
	if !slices.ContainsFunc([]string{"/sbin/init", "/etc/init", "/bin/init"}, there) {
		lacks(flag, "the root file system has no /sbin/init: add the package systemd-sysv to it, %s", none)
	}
	for _, part := range d.loaderFiles(f) {
		if !there(part.file) {
			lacks(flag, "the root file system has no /%s: add the package %s to it, or choose another --boot", part.file, part.pkg)
		}
	}
	return problems
}

// loaderFile is a file that the boot loader takes from the root file system.
type loaderFile struct{ file, pkg string }

// loaderFiles are those of the disk's boot loader. extlinux is not among them: its files are got elsewhere.
func (d Disk) loaderFiles(f *treeFiles) []loaderFile {
	var all []loaderFile
	for _, platform := range d.grubPlatforms() {
		file := grubMonolith(platform)
		switch {
		case platform == grub.BIOSPlatform:
			file = grubModules(platform) + "/kernel.img"
		case d.SignedEFI && platform == grub.EFIPlatform(d.Arch):
			continue
		}
		all = append(all, loaderFile{strings.TrimPrefix(file, "/"), grubPackage(platform)})
	}
	if d.Loader == loaderSystemdBoot {
		for _, name := range []string{"systemd-boot", "linux"} {
			all = append(all, loaderFile{strings.TrimPrefix(d.systemdProgram(name), "/"), "systemd-boot-efi"})
		}
	}
	return all
}

// grubPackage is Debian's package of GRUB for a platform.
func grubPackage(platform string) string {
	if platform == grub.BIOSPlatform {
		return "grub-pc-bin"
	}
	cpu := strings.TrimSuffix(platform, "-efi")
	if name, other := map[string]string{"x86_64": "amd64", "i386": "ia32"}[cpu]; other {
		cpu = name
	}
	return fmt.Sprintf("grub-efi-%s-bin", cpu)
}

// hasSignedEFI reports whether shim and a signed GRUB are there.
func (d Disk) hasSignedEFI(f *treeFiles) bool {
	list, err := grub.EFISignedFiles(grub.EFIPlatform(d.Arch), d.vendorDir())
	return err == nil && !slices.ContainsFunc(list, func(e grub.EFIFile) bool {
		_, err := f.index.File(e.From)
		return err != nil
	})
}
