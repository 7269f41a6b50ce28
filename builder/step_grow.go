package builder

import (
	"context"
	"io/fs"
	"path"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// grower is what makes the root partition larger. The file system follows by systemd-growfs(8), which fstab asks for.
type grower string

const (
	growNothing grower = ""
	// growRepart is systemd-repart, for GPT alone.
	growRepart grower = "systemd-repart"
	// growSfdisk is a program of ours, which runs sfdisk.
	growSfdisk grower = "sfdisk"
)

// file is what has to be there for the program to run.
func (g grower) file() string {
	if g == growRepart {
		return "/usr/bin/systemd-repart"
	}
	return "/usr/sbin/sfdisk"
}

// growStep has the root partition grow to the end of the disk at each start: usually the first one, and later ones if
// the disk has become larger again.
type growStep struct {
	base
	Program grower
	// Type is the type of the root partition, for systemd-repart.
	Type string
}

func (growStep) Kind() string { return "grow" }

func (growStep) Title() string { return "let the root file system grow to the disk" }

// growDefinition is repart.d(5): the partition of this type is to be as large as it can be.
const growDefinition = `# Written by vmdebootstrap --grow.
[Partition]
Type=`

// growUndiscarded keeps systemd-repart from discarding what is between the partitions: the boot code of boards is there.
const growUndiscarded = `# Written by vmdebootstrap --grow: there may be boot code between the partitions.
[Service]
ExecStart=
ExecStart=systemd-repart --dry-run=no --discard=no
`

// growProgram does what systemd-repart does on GPT disks. Partitions are left alone that cannot become a MiB larger: a GPT
// has its copy in the last sectors.
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
ExecStart=` + growProgramName + `
`

const (
	growDefinitionName  = "/etc/repart.d/50-root.conf"
	growUndiscardedName = "/etc/systemd/system/systemd-repart.service.d/no-discard.conf"
	growProgramName     = "/usr/local/sbin/grow-root-partition"
	growUnitName        = "/etc/systemd/system/grow-root-partition.service"
	growUnitWanted      = "/etc/systemd/system/local-fs.target.wants/grow-root-partition.service"
)

func (g growStep) run(_ context.Context, s *site) error { return g.write(s.target) }

func (g growStep) write(f target.Files) error {
	if g.Program == growRepart {
		if err := writeFileIn(f, growUndiscardedName, growUndiscarded, 0o644); err != nil {
			return err
		}
		return writeFileIn(f, growDefinitionName, growDefinition+g.Type+"\n", 0o644)
	}
	if err := writeFileIn(f, growProgramName, growProgram, 0o755); err != nil {
		return err
	}
	if err := writeFileIn(f, growUnitName, growUnit, 0o644); err != nil {
		return err
	}
	if err := f.MkdirAll(path.Dir(growUnitWanted), 0o755); err != nil {
		return err
	}
	return f.Symlink("../grow-root-partition.service", growUnitWanted)
}

// writeFileIn writes a file in a directory that may be missing.
func writeFileIn(t target.Files, name, text string, mode fs.FileMode) error {
	if err := t.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return t.WriteFile(name, []byte(text), mode)
}
