package builder

import (
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// missing lists what the disk needs of the root file system and cannot get elsewhere, each with the option that would
// change that.
func missing(s Spec, d Disk, f *target.Memory) []error {
	var problems []error
	lacks := func(flag, format string, args ...any) {
		problems = append(problems, problem.New(flag, format, args...)...)
	}
	there := func(name string) bool {
		_, err := f.Index.Follow(name)
		return err == nil
	}
	for _, b := range d.Blobs {
		if _, err := f.Index.File(b.File); b.Rootfs && err != nil {
			lacks("--raw", "the root file system has no file %s", b.File)
		}
	}
	// Before trixie /usr need not be merged.
	if d.Grow != step.GrowNothing && !there(d.Grow.File()) && !there(strings.TrimPrefix(d.Grow.File(), "/usr")) {
		lacks("--grow", "the root file system has no %s: add the package %s to it", d.Grow.File(), strings.Join(s.growPackages(), " "))
	}
	if d.Loader == (boot.None{}) {
		return problems
	}
	flag, none := s.loaderFlag(), "or write an image that does not boot with --boot="+boot.WordNone
	kernels, err := boot.Kernels(d.Loader, f)
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
	for _, part := range d.Loader.Files(d.Disk) {
		if !there(part.File) {
			lacks(flag, "the root file system has no /%s: add the package %s to it, or choose another --boot", part.File, part.Pkg)
		}
	}
	return problems
}
