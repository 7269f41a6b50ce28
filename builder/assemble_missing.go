package builder

import (
	"slices"
	"strings"
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
	if d.Loader == (noLoader{}) {
		return problems
	}
	flag, none := s.loaderFlag(), "or write an image that does not boot with --boot="+bootNone
	kernels, err := bootKernels(d.Loader, f)
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
	for _, part := range d.Loader.files(d.bootDisk) {
		if !there(part.file) {
			lacks(flag, "the root file system has no /%s: add the package %s to it, or choose another --boot", part.file, part.pkg)
		}
	}
	return problems
}
