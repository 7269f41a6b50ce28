// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// removeRootArguments removes the arguments of the kernels that name the root file system of another disk.
func removeRootArguments(f target.Files) error {
	text, err := f.ReadFile(step.KernelArgumentsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	words := slices.DeleteFunc(strings.Fields(string(text)), func(word string) bool {
		return strings.HasPrefix(word, "root=") || word == "ro"
	})
	return f.WriteFile(step.KernelArgumentsFile, []byte(strings.Join(words, " ")+"\n"), 0o644)
}

// Kernels returns the kernels in /boot that a boot loader starts, the newest first.
func Kernels(l Loader, f target.Files) ([]syslinux.Kernel, error) {
	names, err := target.BootFiles(f, l.kernelNames()...)
	if err != nil {
		return nil, fmt.Errorf("look for kernels: %w", err)
	}
	var kernels []syslinux.Kernel
	for _, name := range names {
		_, version, _ := strings.Cut(name, "-")
		if strings.Contains(version, ".dpkg-") {
			continue // of an unfinished installation
		}
		initrd, err := target.Exists(f, "/boot/initrd.img-"+version)
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, syslinux.Kernel{Version: version, Initrd: initrd})
	}
	slices.SortFunc(kernels,
		func(a, b syslinux.Kernel) int { return archive.CompareVersions(sortKey(b), sortKey(a)) })
	return kernels, nil
}

// sortKey returns the version for sorting, such that the backup of a kernel follows the kernel.
func sortKey(k syslinux.Kernel) string {
	if version, backup := strings.CutSuffix(k.Version, ".old"); backup {
		return version + "~old"
	}
	return k.Version
}
