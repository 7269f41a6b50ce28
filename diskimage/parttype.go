package diskimage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Role is what a partition is for.
type Role string

// The roles.
const (
	RoleESP      Role = "esp"       // EFI system partition, holds a FAT
	RoleBoot     Role = "boot"      // separate /boot
	RoleRoot     Role = "root"      // root file system
	RoleSwap     Role = "swap"      // swap space
	RoleBIOSBoot Role = "bios-boot" // holds GRUB's core.img on a GPT disk, no file system
)

// TableKind is a kind of partition table, under the name that parted and sfdisk know: "msdos" or "gpt".
type TableKind string

// The kinds of partition table.
const (
	MSDOS TableKind = "msdos"
	GPT   TableKind = "gpt"
)

// FAT32From is the length from which a vfat partition holds a FAT32, a smaller one holding FAT12 or FAT16. A FAT32 has at
// least 65525 clusters, which are no smaller than sectors: with those of 512 bytes it would begin at 33 MiB, but firmware
// is happier with a little more than the least; with those of 4096 bytes at 257 MiB, and 260 MiB is the figure of
// Microsoft's own guide to such disks. The type byte in an msdos table and the formatter must agree about it.
func FAT32From(sectorSize Size) Size {
	if sectorSize == SectorSize4K {
		return 260 * MiB
	}
	return 64 * MiB
}

// Partition type bytes of an msdos table. The list is a convention, kept for example in util-linux
// include/pt-mbr-partnames.h.
const (
	typeFAT16  = 0x0e // FAT16 (or FAT12), addressed by LBA
	typeFAT32  = 0x0c // FAT32, addressed by LBA
	typeSwap   = 0x82
	typeLinux  = 0x83
	typeGPT    = 0xee // protective entry that covers a GPT disk
	typeEFISys = 0xef
)

// Partition type GUIDs: UEFI specification 2.10, 5.3.3; the Discoverable Partitions Specification
// (uapi-group.org/specifications); BIOS boot is GRUB's own.
var (
	guidESP      = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	guidXBOOTLDR = uuid.MustParse("bc13c2ff-59e6-4262-a352-b275fd6f7172")
	guidSwap     = uuid.MustParse("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")
	guidBIOSBoot = uuid.MustParse("21686148-6449-6e6f-744e-656564454649")
	guidLinux    = uuid.MustParse("0fc63daf-8483-4772-8e79-3d69d8477de4")
)

// rootGUIDs are the types of root partitions by Debian architecture, from the Discoverable Partitions Specification.
var rootGUIDs = map[string]uuid.UUID{
	"amd64":    uuid.MustParse("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
	"i386":     uuid.MustParse("44479540-f297-41b2-9af7-d131d5f0458a"),
	"arm64":    uuid.MustParse("b921b045-1df0-41c3-af44-4c6f280d3fae"),
	"armhf":    uuid.MustParse("69dad710-2ce4-4e3c-b16c-21a1d49abed3"),
	"armel":    uuid.MustParse("69dad710-2ce4-4e3c-b16c-21a1d49abed3"),
	"riscv64":  uuid.MustParse("72ec70a6-cf74-40e6-bd49-4bda08e8f224"),
	"ppc64el":  uuid.MustParse("c31c45e6-3f39-412e-80fb-4809c4980599"),
	"s390x":    uuid.MustParse("5eead9a9-fe09-4a1e-a1d7-520d00531306"),
	"loong64":  uuid.MustParse("77055800-792c-4f94-b39a-98c91b762bb6"),
	"mips64el": uuid.MustParse("700bda43-7a34-4507-b179-eeb93d7a7ca3"),
	"mipsel":   uuid.MustParse("37c58c8a-d913-4156-a25f-48b1b64e07f0"),
	"ia64":     uuid.MustParse("993d8d3d-f80e-4225-855a-9daf8ed7ea97"),
}

// GPT attribute bits: 2 from the UEFI specification, 59 from the Discoverable Partitions Specification.
const (
	attrLegacyBoot uint64 = 1 << 2  // gptmbr.bin of syslinux and U-Boot start this partition
	attrGrowFS     uint64 = 1 << 59 // systemd-growfs enlarges the file system to its partition
)

// The flags of a partition, under parted's names.
const (
	flagBoot       = "boot"        // msdos: active. gpt: as on an ESP it says nothing new, elsewhere legacy_boot
	flagLegacyBoot = "legacy_boot" // gpt only
	flagLBA        = "lba"         // FAT only; always so here
	flagESP        = "esp"         // type of an EFI system partition
	flagBIOSGrub   = "bios_grub"   // type of a BIOS boot partition; gpt only
	flagSwap       = "swap"        // type of a swap partition
)

// Flags lists the flags that a partition can have.
func Flags() []string {
	return []string{flagBoot, flagLegacyBoot, flagLBA, flagESP, flagBIOSGrub, flagSwap}
}

// partitionType is what the two kinds of table record of a partition's purpose.
type partitionType struct {
	guid       uuid.UUID
	attributes uint64
	code       byte
	active     bool
}

// typeOf says how a partition of size bytes is marked in the table.
func typeOf(r Request, size Size, p PartitionRequest) (partitionType, error) {
	var t partitionType
	code := filesystemCode(p.Filesystem.Type, size >= FAT32From(r.sectorSize()))
	switch p.Role {
	case RoleESP:
		t = partitionType{guid: guidESP, code: typeEFISys}
	case RoleBoot:
		t = partitionType{guid: guidXBOOTLDR, code: code}
	case RoleRoot:
		guid, ok := rootGUIDs[r.Arch]
		if !ok {
			guid = guidLinux
		}
		t = partitionType{guid: guid, code: code}
		if ok && slices.Contains([]string{"ext4", "btrfs", "xfs"}, p.Filesystem.Type) {
			t.attributes |= attrGrowFS
		}
	case RoleSwap:
		t = partitionType{guid: guidSwap, code: typeSwap}
	case RoleBIOSBoot:
		if r.Table != GPT {
			return t, fmt.Errorf("a BIOS boot partition needs a gpt table; on msdos GRUB uses the gap before the first partition")
		}
		t = partitionType{guid: guidBIOSBoot}
	default:
		return t, fmt.Errorf("unknown role %q", p.Role)
	}
	for _, flag := range p.Flags {
		if err := t.set(flag, r.Table); err != nil {
			return t, err
		}
	}
	return t, nil
}

// set applies one flag.
func (t *partitionType) set(flag string, kind TableKind) error {
	switch {
	case flag == flagBoot && kind == MSDOS:
		t.active = true
	case flag == flagBoot && t.guid == guidESP, flag == flagLBA:
	case flag == flagBoot, flag == flagLegacyBoot && kind == GPT:
		t.attributes |= attrLegacyBoot
	case flag == flagESP:
		t.guid, t.code = guidESP, typeEFISys
	case flag == flagBIOSGrub && kind == GPT:
		t.guid = guidBIOSBoot
	case flag == flagSwap:
		t.guid, t.code = guidSwap, typeSwap
	case slices.Contains(Flags(), flag):
		return fmt.Errorf("flag %q needs a gpt table", flag)
	default:
		return fmt.Errorf("unknown flag %q; known are %s", flag, strings.Join(Flags(), ", "))
	}
	return nil
}

// filesystemCode is the msdos type byte for a file system.
func filesystemCode(filesystem string, fat32 bool) byte {
	switch {
	case filesystem == "vfat" && fat32:
		return typeFAT32
	case filesystem == "vfat":
		return typeFAT16
	case filesystem == "swap":
		return typeSwap
	default:
		return typeLinux
	}
}
