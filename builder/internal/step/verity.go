// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Verity has the initramfs set up the root device with dm-verity, from the root hash on the kernel's command line.
// initramfs-tools have no script for that (systemd-veritysetup-generator needs systemd in the initramfs, as dracut has
// it; but the scripts of Overlay and of other options are for initramfs-tools).
type Verity struct {
	base
	// Mapping is the name of the root device in /dev/mapper.
	Mapping string
}

func (Verity) Kind() string { return "verity" }

func (Verity) Title() string { return "have the initramfs verify the root file system" }

// Scripts of initramfs-tools(7): one runs at boot until the root device is there, the other one while the initramfs is
// made.
const (
	VerityScript = "/etc/initramfs-tools/scripts/local-block/vmdebootstrap-verity"
	VerityHook   = "/etc/initramfs-tools/hooks/vmdebootstrap-verity"
)

const verityHookText = `#!/bin/sh
# Written by vmdebootstrap, for a root file system with dm-verity.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /usr/share/initramfs-tools/hook-functions
copy_exec /sbin/veritysetup
manual_add_modules dm_verity
`

// verityScriptText finds the partitions by their IDs, the halves of the root hash. A block that does not match its hash
// stops the machine: with an error alone, the system would go on without what it could not read.
const verityScriptText = `#!/bin/sh
# Written by vmdebootstrap: the kernel verifies the root file system against the argument roothash=.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /scripts/functions

# id returns the first 32 of some hexadecimal digits in the form of a UUID.
id() {
	printf '%%.8s-%%.4s-%%.4s-%%.4s-%%.12s' "$1" "${1#????????}" "${1#????????????}" "${1#????????????????}" \
		"${1#????????????????????}"
}

hash=
read -r arguments </proc/cmdline
for argument in $arguments; do
	case $argument in
	roothash=*) hash=${argument#roothash=} ;;
	esac
done
data=/dev/disk/by-partuuid/$(id "$hash")
tree=/dev/disk/by-partuuid/$(id "${hash#????????????????????????????????}")
if [ -b /dev/mapper/%[1]s ] || ! [ -b "$data" ] || ! [ -b "$tree" ]; then
	exit 0
fi
modprobe -q dm-verity
if ! veritysetup open --panic-on-corruption "$data" %[1]s "$tree" "$hash"; then
	panic "The root file system does not match the root hash."
fi
`

func (v Verity) Run(_ context.Context, s *Context) error {
	if err := target.WriteFileIn(s.Target, VerityHook, verityHookText, 0o755); err != nil {
		return err
	}
	return target.WriteFileIn(s.Target, VerityScript, fmt.Sprintf(verityScriptText, v.Mapping), 0o755)
}
