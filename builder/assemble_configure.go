package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// configure writes what in the root file system depends on the disk.
func (d Disk) configure(f *treeFiles) error {
	if err := d.writeFstab(f); err != nil {
		return err
	}
	if d.Grow != growNothing {
		if err := d.growStep().write(f); err != nil {
			return err
		}
	}
	if d.Loader != loaderNone {
		if err := forgetRoot(f); err != nil {
			return err
		}
	}
	switch {
	case d.Loader == loaderExtlinux:
		return d.configureExtlinux(f)
	case d.Loader.grub():
		return d.configureGrub(f)
	case d.Loader == loaderSystemdBoot:
		return systemdBootStep{EntryToken: d.entryToken(), Arguments: d.kernelArguments()}.write(f)
	default:
		return nil
	}
}

// writeFstab writes /etc/fstab, and keeps the lines of an older one that are about other places.
func (d Disk) writeFstab(f *treeFiles) error {
	old, err := f.ReadFile("/etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries := fstabEntries(&d)
	if err := f.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	if err := (fstabStep{entries}).write(f); err != nil {
		return err
	}
	text, err := f.ReadFile("/etc/fstab")
	if err != nil {
		return err
	}
	return f.WriteFile("/etc/fstab", append(text, otherMounts(string(old))...), 0o644)
}

// diskMounts are the places in fstab(5) that are those of the disk, whether it has a partition for them or not.
var diskMounts = []string{"/", "/boot", "/boot/efi", "/efi", "/proc", "none", "swap"}

// otherMounts are the lines of a fstab that are not about the disk.
func otherMounts(fstab string) string {
	var kept strings.Builder
	for line := range strings.Lines(fstab) {
		fields := strings.Fields(line)
		if len(fields) > 2 && !strings.HasPrefix(fields[0], "#") && !slices.Contains(diskMounts, fields[1]) {
			kept.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return kept.String()
}

// forgetRoot takes from the kernels' arguments those that name another disk.
func forgetRoot(f *treeFiles) error {
	text, err := f.ReadFile(kernelArgumentsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	words := slices.DeleteFunc(strings.Fields(string(text)), func(word string) bool {
		return strings.HasPrefix(word, "root=") || word == "ro"
	})
	return f.WriteFile(kernelArgumentsFile, []byte(strings.Join(words, " ")+"\n"), 0o644)
}

// configureExtlinux writes extlinux.conf as the kernel hook will write it whenever a kernel comes.
func (d Disk) configureExtlinux(f *treeFiles) error {
	step := d.extlinuxStep()
	// The hook takes the one in /boot if there are two.
	for _, other := range []string{"/" + syslinux.ConfigName, "/boot/" + syslinux.ConfigName} {
		if other != step.config() {
			if err := f.Remove(other); err != nil {
				return err
			}
		}
	}
	if err := step.write(f); err != nil {
		return err
	}
	kernels, err := d.kernels(f)
	if err != nil {
		return err
	}
	arguments, err := f.ReadFile(kernelArgumentsFile)
	if err != nil {
		return err
	}
	config, err := f.ReadFile(step.config())
	if err != nil {
		return err
	}
	prefix := "/boot"
	if d.boot().Role == diskimage.RoleBoot {
		prefix = ""
	}
	config, ok := syslinux.WithKernels(config, kernels, prefix, strings.Join(strings.Fields(string(arguments)), " "))
	if !ok {
		return &Problem{Flag: "--boot", Err: fmt.Errorf("%s of the root file system does not say where its kernels go, and may name another disk: "+
			"remove it", step.config())}
	}
	return f.WriteFile(step.config(), config, 0o644)
}

// kernels are those in /boot, the newest first.
func (d Disk) kernels(f *treeFiles) ([]syslinux.Kernel, error) {
	prefixes := []string{"vmlinuz-"}
	if d.Loader != loaderExtlinux {
		prefixes = append(prefixes, "vmlinux-")
	}
	names, err := bootFiles(f, prefixes...)
	if err != nil {
		return nil, fmt.Errorf("look for kernels: %w", err)
	}
	var kernels []syslinux.Kernel
	for _, name := range names {
		_, version, _ := strings.Cut(name, "-")
		if strings.Contains(version, ".dpkg-") {
			continue // of an installation that did not end
		}
		initrd, err := exists(f, "/boot/initrd.img-"+version)
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, syslinux.Kernel{Version: version, Initrd: initrd})
	}
	slices.SortFunc(kernels, func(a, b syslinux.Kernel) int { return archive.CompareVersions(sortable(b), sortable(a)) })
	return kernels, nil
}

// sortable has a kernel's backup come behind the kernel.
func sortable(k syslinux.Kernel) string {
	if version, backup := strings.CutSuffix(k.Version, ".old"); backup {
		return version + "~old"
	}
	return k.Version
}
