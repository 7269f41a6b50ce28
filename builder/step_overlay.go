package builder

import (
	"context"
	"fmt"
)

// overlayStep lets a system on a file system that never changes write: the initramfs mounts an overlay whose upper
// layer is in memory over it, so that the system is the same at each start.
type overlayStep struct {
	base
	Roottype string
	// Grub says that GRUB is in /boot, which is not changed either.
	Grub bool
}

func (overlayStep) Kind() string { return "overlay" }

func (o overlayStep) Title() string { return "keep changes to the " + o.Roottype + " in memory" }

// Programs of initramfs-tools(7), of its boot and of its making.
const (
	overlayScript = "/etc/initramfs-tools/scripts/local-bottom/vmdebootstrap-overlay"
	overlayHook   = "/etc/initramfs-tools/hooks/vmdebootstrap-overlay"
)

// overlayHookText puts the kernel's modules into the initramfs.
const overlayHookText = `#!/bin/sh
# Written by vmdebootstrap, for a root file system that never changes.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /usr/share/initramfs-tools/hook-functions
manual_add_modules %s overlay
`

// overlayScriptText runs when the root file system is mounted, and before anything moves into it.
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

// grubService is Debian's; it writes to grubenv(5) that the system has started.
const grubService = "/etc/systemd/system/grub-common.service.d/read-only.conf"

const grubServiceText = `# Written by vmdebootstrap: /boot never changes.
[Unit]
ConditionPathIsReadWrite=/boot/grub
`

func (o overlayStep) run(_ context.Context, s *site) error {
	if err := writeFileIn(s.target, overlayHook, fmt.Sprintf(overlayHookText, o.Roottype), 0o755); err != nil {
		return err
	}
	if err := writeFileIn(s.target, overlayScript, overlayScriptText, 0o755); err != nil || !o.Grub {
		return err
	}
	return writeFileIn(s.target, grubService, grubServiceText, 0o644)
}
