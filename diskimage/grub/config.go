package grub

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// EnvironmentSize is the fixed length of a GRUB environment block (GRUB include/grub/lib/envblk.h gives the signature,
// util/grub-editenv.c the length).
const EnvironmentSize = 1024

const environmentSignature = "# GRUB Environment Block\n"

// Environment is an empty environment block, /boot/grub/grubenv.
func Environment() []byte {
	return append([]byte(environmentSignature), bytes.Repeat([]byte("#"), EnvironmentSize-len(environmentSignature))...)
}

// Place is a file system as GRUB looks for it: by UUID, and the directory of its modules and grub.cfg there.
type Place struct {
	// UUID is what blkid(8) says: for a FAT eight digits with a dash.
	UUID string
	// Dir is "/boot/grub", or "/grub" where /boot is a partition of its own.
	Dir string
}

// LoadConfig is the script built into core.img: it finds the file system with /boot by its UUID. GRUB runs it before
// its normal parser is loaded, so it holds plain commands only.
func LoadConfig(at Place) []byte {
	return fmt.Appendf(nil, "search.fs_uuid %s root\nset prefix=($root)'%s'\n", at.UUID, at.Dir)
}

// Prefix is the place of GRUB's modules as core.img records it: a partition of the disk that was booted, whatever its
// number is.
func Prefix(table diskimage.TableKind, partition int, dir string) string {
	return fmt.Sprintf("(,%s%d)%s", table, partition, dir)
}

// CoreModules are the modules that core.img must have to reach the ones in its file system, for grub-mkimage.
func CoreModules(filesystem string) []string {
	return []string{"biosdisk", "part_msdos", "part_gpt", filesystemModule(filesystem), "search_fs_uuid"}
}

// filesystemModule is GRUB's name of the driver: ext2 reads all three.
func filesystemModule(filesystem string) string {
	switch filesystem {
	case "ext3", "ext4":
		return "ext2"
	case "vfat", "msdos":
		return "fat"
	default:
		return filesystem
	}
}

// EFIConfig is /EFI/debian/grub.cfg of the EFI system partition: it leads signed and monolithic GRUB, which have that
// place built in, to the grub.cfg of the root file system. grub-install writes the same three lines.
func EFIConfig(at Place) []byte {
	return fmt.Appendf(nil, "search.fs_uuid %s root \nset prefix=($root)'%s'\nconfigfile $prefix/grub.cfg\n", at.UUID, at.Dir)
}

// ProbeFilesystem is what grub-probe knows of a file system.
type ProbeFilesystem struct {
	UUID     string // as blkid(8) has it
	PartUUID string
	Type     string // "ext4", "vfat"
	// Partition is its number in the partition table.
	Partition int
}

// ProbeAnswers is what grub-probe would say in the booted system.
type ProbeAnswers struct {
	Table diskimage.TableKind
	Root  ProbeFilesystem
	// Boot is a /boot partition, if there is one.
	Boot *ProbeFilesystem
}

// Device is the name under which the answers speak of a file system; it has to exist while update-grub runs.
func (f ProbeFilesystem) Device() string { return "/dev/disk/by-uuid/" + f.UUID }

// ProbeScript is a shell script that takes the place of grub-probe while update-grub runs. There is no disk yet for
// the real one to look at, but everything that it would find is decided.
//
// It understands the options that Debian's grub-mkconfig and its scripts use: --target (-t), --device (-d), the device
// map, and a path or devices. For what it does not know it fails, as grub-probe does.
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

// writeAnswers writes the answers about one file system. Empty ones say that there is nothing of the kind.
func writeAnswers(b *strings.Builder, table diskimage.TableKind, f ProbeFilesystem) {
	fmt.Fprintf(b, `	case "$target" in
	device) answer %s ;;
	fs_uuid) answer %s ;;
	partuuid) answer %s ;;
	fs) answer %s ;;
	partmap) answer %s ;;
	drive) answer '(hd0,%s%d)' ;;
	abstraction | cryptodisk_uuid | fs_label | compatibility_hint | hints_string | bios_hints | efi_hints | ieee1275_hints | \
	baremetal_hints | arc_hints | msdos_parttype | gpt_parttype | zero_check) answer '' ;;
	disk) answer /dev/disk/by-id/image ;;
	esac
`, f.Device(), f.UUID, f.PartUUID, filesystemModule(f.Type), table, table, f.Partition)
}
