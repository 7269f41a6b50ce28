// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Overlay makes a system on a read-only file system writable: the initramfs mounts an overlay with its upper layer in
// memory. The system is the same at each boot.
type Overlay struct {
	base
	Roottype string
	// Grub reports whether GRUB is in a /boot that is read-only as well.
	Grub bool
}

func (Overlay) Kind() string { return "overlay" }

func (o Overlay) Title() string { return "keep changes to the " + o.Roottype + " in memory" }

// Scripts of initramfs-tools(7): one runs at boot, the other one while the initramfs is made.
const (
	OverlayScript = "/etc/initramfs-tools/scripts/local-bottom/vmdebootstrap-overlay"
	OverlayHook   = "/etc/initramfs-tools/hooks/vmdebootstrap-overlay"
)

// overlayHookText adds the kernel modules to the initramfs.
const overlayHookText = `#!/bin/sh
# Written by vmdebootstrap, for a root file system that never changes.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /usr/share/initramfs-tools/hook-functions
manual_add_modules %s overlay
`

// overlayScriptText runs after the root file system is mounted and before other mounts are moved into it.
const overlayScriptText = `#!/bin/sh
# Written by vmdebootstrap: the root file system never changes, so what is written goes to memory.
# Beneath, it is as it was, in /run/root/lower.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /scripts/functions
modprobe -q overlay
mkdir -p /run/root/lower /run/root/changes
if ! {
	mount -n -o move "$rootmnt" /run/root/lower &&
	mount -n -t tmpfs -o mode=0755 changes /run/root/changes &&
	mkdir /run/root/changes/upper /run/root/changes/work &&
	mount -n -t overlay -o lowerdir=/run/root/lower,upperdir=/run/root/changes/upper,workdir=/run/root/changes/work \
		overlay "$rootmnt"
}; then
	panic "The overlay over the root file system could not be mounted."
fi
`

// GrubService configures the Debian service that records successful boots in grubenv.
const GrubService = "/etc/systemd/system/grub-common.service.d/read-only.conf"

const grubServiceText = `# Written by vmdebootstrap: /boot never changes.
[Unit]
ConditionPathIsReadWrite=/boot/grub
`

// seedUnit is systemd-boot's service that updates the random seed on the EFI system partition, and SeedService its
// configuration. Without --ab, the partition is mounted read-only, and the service failed.
const (
	seedUnit    = "/usr/lib/systemd/system/systemd-boot-random-seed.service"
	SeedService = systemUnits + "systemd-boot-random-seed.service.d/read-only.conf"
)

const seedServiceText = `# Written by vmdebootstrap: the EFI system partition may be mounted read-only.
[Unit]
ConditionPathIsReadWrite=/boot/efi
`

func (o Overlay) Run(_ context.Context, s *Context) error {
	if err := target.WriteFileIn(s.Target, OverlayHook, fmt.Sprintf(overlayHookText, o.Roottype), 0o755); err != nil {
		return err
	}
	if err := target.WriteFileIn(s.Target, OverlayScript, overlayScriptText, 0o755); err != nil {
		return err
	}
	seeded, err := target.Exists(s.Target, seedUnit)
	if err == nil && seeded {
		err = target.WriteFileIn(s.Target, SeedService, seedServiceText, 0o644)
	}
	if err != nil || !o.Grub {
		return err
	}
	return target.WriteFileIn(s.Target, GrubService, grubServiceText, 0o644)
}
