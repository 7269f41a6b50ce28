// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// ProbeFilesystem is the output of grub-probe about one file system.
type ProbeFilesystem struct {
	UUID     string // according to blkid(8); empty for a file system without one
	PartUUID string
	Type     string // "ext4", "vfat"
	// Partition is its number in the partition table.
	Partition int
	// Encrypted reports whether it is in a LUKS container, so that update-grub leaves out what GRUB would
	// read there, such as fonts.
	Encrypted bool `json:",omitempty"`
}

// ProbeAnswers describes the output of grub-probe in the booted system.
type ProbeAnswers struct {
	Table diskimage.TableKind
	Root  ProbeFilesystem
	// Boot is the /boot partition, or nil.
	Boot *ProbeFilesystem
}

// Device returns the device name of the file system in the output; it must exist while update-grub
// runs.
func (f ProbeFilesystem) Device() string {
	if f.UUID == "" {
		return "/dev/disk/by-partuuid/" + f.PartUUID
	}
	return "/dev/disk/by-uuid/" + f.UUID
}

// ProbeScript returns a shell script that replaces grub-probe while update-grub runs. The disk does
// not exist yet, but everything that grub-probe would find there is already decided.
//
// It understands the options that Debian's grub-mkconfig and its scripts use: --target (-t),
// --device (-d), the device map, and a path or a device. Paths may be relative or lead through
// symbolic links: Debian's theme uses ".", with /boot/grub as the working directory. For everything
// else it fails, as grub-probe does.
func ProbeScript(a ProbeAnswers) []byte {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Answers for update-grub while the image does not exist yet.\n")
	b.WriteString(`target=fs device=no
what=
while [ $# -gt 0 ]; do
	case "$1" in
	--target=*) target=${1#*=} ;;
	-t | --target) target=$2; shift ;;
	-t*) target=${1#-t} ;;
	-d | --device) device=yes ;;
	-m | --device-map) shift ;;
	--device-map=* | -v | --verbose | -0) ;;
	-*) echo "grub-probe: unknown option $1" >&2; exit 1 ;;
	*) what=$1 ;;
	esac
	shift
done
[ $device = yes ] || what=$(readlink -f -- "$what")
answer() { printf '%s\n' "$1"; exit 0; }
`)
	if a.Boot != nil {
		fmt.Fprintf(&b, "case \"$device:$what\" in\nyes:%s | no:/boot | no:/boot/*)\n", a.Boot.Device())
		writeAnswers(&b, a.Table, *a.Boot)
		b.WriteString("\t;;\nesac\n")
	}
	fmt.Fprintf(&b, "case \"$device:$what\" in\nyes:%s | no:/*)\n", a.Root.Device())
	writeAnswers(&b, a.Table, a.Root)
	b.WriteString("\t;;\nesac\necho \"grub-probe: no answer for $target of $what\" >&2\nexit 1\n")
	return []byte(b.String())
}

// RelpathScript returns a shell script that replaces grub-mkrelpath while update-grub runs: it
// prints a path relative to the root of the file system that contains it, as GRUB needs it. The
// real program depends on what is mounted. It would take the /boot of a future partition for a
// directory of the root file system, so that GRUB would look for /boot/vmlinuz, where only /vmlinuz
// exists.
func RelpathScript(a ProbeAnswers) []byte {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Answers for update-grub while the image does not exist yet.\n")
	b.WriteString(`path=
for word; do
	case "$word" in
	-r | --relative) ;; # older than GRUB 2.00, without a meaning since
	-*) echo "grub-mkrelpath: unknown option $word" >&2; exit 1 ;;
	*) path=$word ;;
	esac
done
path=$(readlink -f -- "$path") || { echo "grub-mkrelpath: no such path" >&2; exit 1; }
case "$path" in
/) path= ;;
`)
	if a.Boot != nil {
		b.WriteString("/boot | /boot/*) path=${path#/boot} ;;\n")
	}
	b.WriteString("esac\nprintf '%s\\n' \"$path\"\n")
	return []byte(b.String())
}

// writeAnswers writes the output about one file system. Empty values mean that it does not have
// that property.
func writeAnswers(b *strings.Builder, table diskimage.TableKind, f ProbeFilesystem) {
	abstraction := ""
	if f.Encrypted {
		abstraction = "cryptodisk"
	}
	fmt.Fprintf(b, `	case "$target" in
	device) answer %s ;;
	fs_uuid) answer '%s' ;;
	partuuid) answer %s ;;
	fs) answer %s ;;
	partmap) answer %s ;;
	drive) answer '(hd0,%s%d)' ;;
	abstraction) answer '%s' ;;
	cryptodisk_uuid | fs_label | compatibility_hint | hints_string | bios_hints | efi_hints | \
	ieee1275_hints | baremetal_hints | arc_hints | msdos_parttype | gpt_parttype | zero_check) answer '' ;;
	disk) answer /dev/disk/by-id/image ;;
	esac
`, f.Device(), f.UUID, f.PartUUID, filesystemModule(f.Type), table, table, f.Partition, abstraction)
}
