// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Grower is the program that enlarges the root partition. systemd-growfs(8), by an option in fstab, then enlarges the
// file system.
type Grower string

// The growers.
const (
	GrowNothing Grower = ""
	// GrowRepart is systemd-repart, for GPT only.
	GrowRepart Grower = "systemd-repart"
	// GrowSfdisk is a script of our own that runs sfdisk.
	GrowSfdisk Grower = "sfdisk"
	// GrowInitramfs is a script of our own that runs sfdisk in the initramfs, before a root partition in a LUKS container
	// is unlocked: the mapping has the size of the partition from then on, and only who has the passphrase could change
	// it.
	GrowInitramfs Grower = "initramfs"
)

// File returns the program that the target must contain.
func (g Grower) File() string {
	if g == GrowRepart {
		return "/usr/bin/systemd-repart"
	}
	return "/usr/sbin/sfdisk"
}

// Grow enlarges the root partition to the end of the disk at each boot: usually the first one, and later ones if the
// disk has grown.
type Grow struct {
	base
	Program Grower
	// Type is the partition type of the root partition, for systemd-repart.
	Type string
	// LUKS is the UUID of the LUKS container, for GrowInitramfs.
	LUKS string `json:",omitempty"`
}

func (Grow) Kind() string { return "grow" }

func (Grow) Title() string { return "let the root file system grow to the disk" }

// growDefinition is a file of repart.d(5). It makes the partition of this type as large as possible.
const growDefinition = `# Written by vmdebootstrap --grow.
[Partition]
Type=`

// growNoDiscard keeps systemd-repart from discarding the space between the partitions, where boards have their boot
// code.
const growNoDiscard = `# Written by vmdebootstrap --grow: there may be boot code between the partitions.
[Service]
ExecStart=
ExecStart=systemd-repart --dry-run=no --discard=no
`

// growProgram does what systemd-repart does on GPT disks. It ignores partitions that cannot grow by 2 MiB, as
// the backup GPT needs the last sectors.
const growProgram = `#!/bin/sh
# Written by vmdebootstrap --grow: makes the partition of / as large as the disk allows.
set -eu
device=$(readlink -f "$(findmnt --noheadings --nofsroot --output SOURCE /)")
partition=$(readlink -f "/sys/class/block/${device##*/}")
disk=${partition%/*}
number=$(cat "$partition/partition")
free=$(($(cat "$disk/size") - $(cat "$partition/start") - $(cat "$partition/size"))) # in sectors of 512 bytes
[ "$free" -ge 4096 ] || exit 0
disk=/dev/${disk##*/}
if [ "$(blkid -p -s PTTYPE -o value "$disk")" = gpt ]; then
	sfdisk --no-reread --no-tell-kernel --relocate gpt-bak-std "$disk"
fi
echo ', +' | sfdisk --no-reread --no-tell-kernel --force -N "$number" "$disk"
partx --update --nr "$number" "$disk"
`

const growUnit = `# Written by vmdebootstrap --grow.
[Unit]
Description=Grow the root partition to the disk
DefaultDependencies=no
Conflicts=shutdown.target
Before=systemd-growfs-root.service systemd-growfs@-.service shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + GrowProgramName + `
`

// growHook adds the programs of growScript to the initramfs.
const growHook = `#!/bin/sh
# Written by vmdebootstrap --grow.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /usr/share/initramfs-tools/hook-functions
for program in sfdisk partx; do
	copy_exec "$(command -v $program)"
done
`

// growScript runs before the script of cryptsetup-initramfs, which comes after all others of local-top. It leaves room
// for the backup GPT. dm-crypt rejects a size that is no multiple of its sectors, so it grows in units of 1 MiB.
const growScript = `#!/bin/sh
# Written by vmdebootstrap --grow: makes the encrypted root partition as large as the disk allows.
if [ "$1" = prereqs ]; then
	exit 0
fi
. /scripts/functions
wait_for_udev 10
for second in 1 2 3 4 5; do
	device=$(blkid -l -t UUID=%s -o device) && [ -n "$device" ] && break
	sleep 1
done
[ -n "$device" ] || exit 0
partition=$(readlink -f "/sys/class/block/${device##*/}")
disk=${partition%%/*}
number=$(cat "$partition/partition")
room=$(($(cat "$disk/size") - $(cat "$partition/start") - 64)) # in sectors of 512 bytes
[ $((room - $(cat "$partition/size"))) -ge 4096 ] || exit 0
disk=/dev/${disk##*/}
if [ "$(blkid -p -s PTTYPE -o value "$disk")" = gpt ]; then
	sfdisk --no-reread --no-tell-kernel --relocate gpt-bak-std "$disk"
fi
echo ", $((room / 2048))MiB" | sfdisk --no-reread --no-tell-kernel --force -N "$number" "$disk"
partx --update --nr "$number" "$disk"
`

// Files that Grow writes.
const (
	GrowHookName       = "/etc/initramfs-tools/hooks/grow-root-partition"
	GrowScriptName     = "/etc/initramfs-tools/scripts/local-top/grow-root-partition"
	GrowDefinitionName = "/etc/repart.d/50-root.conf"
	GrowNoDiscardName  = "/etc/systemd/system/systemd-repart.service.d/no-discard.conf"
	GrowProgramName    = "/usr/local/sbin/grow-root-partition"
	GrowUnitName       = systemUnits + "grow-root-partition.service"
	GrowUnitWanted     = systemUnits + "local-fs.target.wants/grow-root-partition.service"
)

var growService = service{program: GrowProgramName, unit: GrowUnitName, wanted: GrowUnitWanted}

func (g Grow) Run(_ context.Context, s *Context) error { return g.Write(s.Target) }

// Write writes the files to f.
func (g Grow) Write(f target.Files) error {
	if g.Program == GrowRepart {
		if err := target.WriteFileIn(f, GrowNoDiscardName, growNoDiscard, 0o644); err != nil {
			return err
		}
		return target.WriteFileIn(f, GrowDefinitionName, growDefinition+g.Type+"\n", 0o644)
	}
	if g.Program == GrowInitramfs {
		if err := target.WriteFileIn(f, GrowHookName, growHook, 0o755); err != nil {
			return err
		}
		return target.WriteFileIn(f, GrowScriptName, fmt.Sprintf(growScript, g.LUKS), 0o755)
	}
	return growService.write(f, growProgram, growUnit)
}
