// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"
)

// The package raspi-firmware installs itself in /boot/firmware only if that is a mount point, and asks findmnt(8) for
// the root file system that it writes to cmdline.txt. Packages of other boards do the same.

// Mounted replaces findmnt(8) and mountpoint(1) in the target by scripts that answer as in the booted image, whose
// partitions do not exist yet. About other places they run the real programs, which are diverted. Unmounted ends that.
type Mounted struct {
	base
	// Mounts are the entries of fstab(5) with a device.
	Mounts []FstabEntry
}

// Unmounted gives the target its own findmnt(8) and mountpoint(1) back.
type Unmounted struct{ base }

const (
	findmnt    = "/usr/bin/findmnt"
	mountpoint = "/usr/bin/mountpoint"
)

func (Mounted) Kind() string { return "mounted" }

func (m Mounted) Title() string { return "have findmnt answer as in the booted image" }

func (m Mounted) Run(ctx context.Context, s *Context) error {
	// systemd-detect-virt and ischroot see what the build runs in; the directory must be there all the same.
	for _, e := range m.Mounts {
		if err := s.Target.MkdirAll(e.Dir, 0o755); err != nil {
			return err
		}
	}
	if err := s.divert(ctx, localDiversion(findmnt), localDiversion(mountpoint)); err != nil {
		return err
	}
	if err := s.Target.WriteFile(findmnt, m.findmnt(), 0o755); err != nil {
		return err
	}
	return s.Target.WriteFile(mountpoint, m.mountpoint(), 0o755)
}

func (Unmounted) Kind() string { return "unmounted" }

func (Unmounted) Title() string { return "have findmnt look at the system again" }

func (Unmounted) Run(ctx context.Context, s *Context) error {
	return s.undivert(ctx, localDiversion(findmnt), localDiversion(mountpoint))
}

// findmnt returns a script that answers calls with a device or a mount point and known columns. Options that change
// nothing for one place are ignored.
func (m Mounted) findmnt() []byte {
	var b strings.Builder
	b.WriteString(`#!/bin/sh
# Answers about the image while its partitions do not exist yet.
place= columns=TARGET,SOURCE,FSTYPE,OPTIONS next=
for word; do
	case "$next$word" in
	columns*) columns=$word next= ;;
	place*) place=$word next= ;;
	--output=*) columns=${word#*=} ;;
	--target=* | --mountpoint=* | --source=*) place=${word#*=} ;;
	--output | -o | -[!-]*o) next=columns ;;
	--target | --mountpoint | --source | -[TMS]) next=place ;;
	--noheadings | --noheading | --first-only | --nofsroot | --raw | --list | --evaluate | --fstab | --kernel) ;;
	-[nfvrleskc]*) ;;
	-*) exec ` + findmnt + diverted + ` "$@" ;;
	*) place=$word ;;
	esac
done
case "$place" in
`)
	for _, e := range m.Mounts {
		uuid := strings.TrimPrefix(e.Device, "UUID=")
		if uuid == e.Device {
			uuid = ""
		}
		fmt.Fprintf(&b, "%s | %s) source=%s target=%s fstype=%s options=%s uuid=%s ;;\n", e.Device, e.Dir, e.Device, e.Dir,
			e.Type, e.Options, uuid)
	}
	b.WriteString(`*) exec ` + findmnt + diverted + ` "$@" ;;
esac
line=
for column in $(echo "$columns" | tr a-z, 'A-Z '); do
	case $column in
	TARGET) value=$target ;;
	SOURCE) value=$source ;;
	FSTYPE) value=$fstype ;;
	OPTIONS) value=$options ;;
	UUID) value=$uuid ;;
	FSROOT) value=/ ;;
	*) exec ` + findmnt + diverted + ` "$@" ;;
	esac
	line="$line${line:+ }$value"
done
echo "$line"
`)
	return []byte(b.String())
}

// mountpoint returns a script that succeeds for the mount points of the image.
func (m Mounted) mountpoint() []byte {
	var dirs []string
	for _, e := range m.Mounts {
		dirs = append(dirs, e.Dir)
	}
	return []byte(`#!/bin/sh
# Answers about the image while its partitions do not exist yet.
for place; do :; done
case "$*" in
-d* | -x*) exec ` + mountpoint + diverted + ` "$@" ;;
esac
case "$place" in
` + strings.Join(dirs, " | ") + `) exit 0 ;;
esac
exec ` + mountpoint + diverted + ` "$@"
`)
}
