// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/depmod"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// An initramfs takes a quarter of the time of a build, in which one processor has nothing to do. So it is made early,
// in a copy of the target that has the files of the packages still to be installed, while these are being installed. It
// is used if nothing that mkinitramfs has seen differs in the target at the end: what packages and hooks change is
// seen, and the initramfs is made again.
//
// A few names always differ, because no script of a package has run in the copy. They make no difference to the hooks
// of initramfsHooks, which were read for this. With any other hook there is no early initramfs.

// initramfsHooks are the hooks of initramfs-tools (initramfs-tools(7)) that do not see what initramfsIgnores says.
var initramfsHooks = []string{
	"amd64_microcode", "btrfs", "busybox", "dmsetup", "fixrtc", "fsck", "fuse", "intel_microcode", "iucode_tool", "keymap",
	"klibc", "klibc-utils", "kmod", "ntfs_3g", "resume", "thermal", "udev", "xfs", "zz-busybox", "zz-busybox-initramfs",
}

// initramfsIgnored are patterns (path.Match) of the names that always differ, or may.
var initramfsIgnored = []string{
	"/initrd.img*", "/vmlinuz*", // links for boot loaders, by linux-image's postinst
	"/etc/hostname", "/etc/resolv.conf", "/etc/.resolv.conf.*", // by our own steps, and by systemd-resolved's postinst
	"/etc/passwd", "/etc/passwd-", // users of packages: programs look up root
	"/etc/systemd/network/*.network",              // by our own step: udev's hook takes *.link files
	"/usr/lib/dbus-1.0/dbus-daemon-launch-helper", // its mode, by dbus's postinst
}

// initramfsIgnores reports whether a name makes no difference to an early initramfs.
func initramfsIgnores(name string) bool {
	return slices.ContainsFunc(initramfsIgnored, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// errUnknownHooks says that there are hooks that may see more than files that are compared.
var errUnknownHooks = errors.New("not certain what its hooks see")

// EarlyInitramfs makes the initramfs of the given versions of the kernel in a copy of the target into which packages
// have been unpacked. s.Target is the copy, and s.Outputs observes the run. The steps are Initramfs, after those before
// it that write what an initramfs has.
func EarlyInitramfs(ctx context.Context, s *Context, versions []string, steps []Step) error {
	for _, dir := range []string{"/usr/share/initramfs-tools/hooks", "/etc/initramfs-tools/hooks"} {
		entries, err := s.Target.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !slices.Contains(initramfsHooks, e.Name()) {
				return fmt.Errorf("%s: %w", path.Join(dir, e.Name()), errUnknownHooks)
			}
		}
	}
	for _, version := range versions {
		indexes := depmod.Process{Args: []string{version}, Root: s.Target.Root(), Dir: s.Derived, Stderr: io.Discard}
		if _, done, err := indexes.Write(); err != nil || !done {
			return errors.Join(err, fmt.Errorf("no indexes of the modules of %s", version))
		}
	}
	if err := configureInitramfsTools(s.Target); err != nil {
		return err
	}
	if err := s.inTarget(ctx, "ldconfig"); err != nil { // the trigger of libc-bin
		return err
	}
	for _, step := range steps {
		if err := step.Run(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// configureInitramfsTools writes the file that the postinst of initramfs-tools-core writes.
func configureInitramfsTools(t target.Target) error {
	const list, template = "/etc/initramfs-tools/modules", "/usr/share/initramfs-tools/modules"
	if exists, err := target.Exists(t, list); err != nil || exists {
		return err
	}
	text, err := t.ReadFile(template)
	if err != nil {
		return err
	}
	var kept []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("###")) {
			kept = append(kept, line...)
		}
	}
	return t.WriteFile(list, kept, 0o644)
}
