// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"path"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Grower is what makes the root partition larger. The file system follows by systemd-growfs(8), which fstab asks for.
type Grower string

const (
	GrowNothing Grower = ""
	// GrowRepart is systemd-repart, for GPT alone.
	GrowRepart Grower = "systemd-repart"
	// GrowSfdisk is a program of ours, which runs sfdisk.
	GrowSfdisk Grower = "sfdisk"
)

// File is what has to be there for the program to run.
func (g Grower) File() string {
	if g == GrowRepart {
		return "/usr/bin/systemd-repart"
	}
	return "/usr/sbin/sfdisk"
}

// Grow has the root partition grow to the end of the disk at each start: usually the first one, and later ones if
// the disk has become larger again.
type Grow struct {
	base
	Program Grower
	// Type is the type of the root partition, for systemd-repart.
	Type string
}

func (Grow) Kind() string { return "grow" }

func (Grow) Title() string { return "let the root file system grow to the disk" }

// growDefinition is repart.d(5): the partition of this type is to be as large as it can be.
const growDefinition = `# Written by vmdebootstrap --grow.
[Partition]
Type=`

// growUndiscarded keeps systemd-repart from discarding what is between the partitions: the boot code of
// boards is there.
const growUndiscarded = `# Written by vmdebootstrap --grow: there may be boot code between the partitions.
[Service]
ExecStart=
ExecStart=systemd-repart --dry-run=no --discard=no
`

// growProgram does what systemd-repart does on GPT disks. Partitions are left alone that cannot become a MiB
// larger: a GPT has its copy in the last sectors.
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

const (
	GrowDefinitionName  = "/etc/repart.d/50-root.conf"
	GrowUndiscardedName = "/etc/systemd/system/systemd-repart.service.d/no-discard.conf"
	GrowProgramName     = "/usr/local/sbin/grow-root-partition"
	GrowUnitName        = "/etc/systemd/system/grow-root-partition.service"
	GrowUnitWanted      = "/etc/systemd/system/local-fs.target.wants/grow-root-partition.service"
)

func (g Grow) Run(_ context.Context, s *Context) error { return g.Write(s.Target) }

func (g Grow) Write(f target.Files) error {
	if g.Program == GrowRepart {
		if err := target.WriteFileIn(f, GrowUndiscardedName, growUndiscarded, 0o644); err != nil {
			return err
		}
		return target.WriteFileIn(f, GrowDefinitionName, growDefinition+g.Type+"\n", 0o644)
	}
	if err := target.WriteFileIn(f, GrowProgramName, growProgram, 0o755); err != nil {
		return err
	}
	if err := target.WriteFileIn(f, GrowUnitName, growUnit, 0o644); err != nil {
		return err
	}
	if err := f.MkdirAll(path.Dir(GrowUnitWanted), 0o755); err != nil {
		return err
	}
	return f.Symlink("../grow-root-partition.service", GrowUnitWanted)
}
