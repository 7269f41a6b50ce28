// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Role is the purpose of a partition.
type Role string

// The roles.
const (
	RoleESP      Role = "esp"       // EFI system partition, holds a FAT
	RoleBoot     Role = "boot"      // separate /boot
	RoleRoot     Role = "root"      // root file system
	RoleSwap     Role = "swap"      // swap space
	RoleBIOSBoot Role = "bios-boot" // holds GRUB's core.img on a GPT disk, no file system
	// RoleRootVerity is the hash tree of the root file system (package diskimage/verity).
	RoleRootVerity Role = "root-verity"
	// RoleRootB and RoleRootVerityB are the second slot of a system that is updated as a whole: partitions of the same
	// types, for the next root file system and its hash tree.
	RoleRootB       Role = "root-b"
	RoleRootVerityB Role = "root-verity-b"
)

// TableKind is a kind of partition table, named as in parted and sfdisk: "msdos" or "gpt".
type TableKind string

// The kinds of partition table.
const (
	MSDOS TableKind = "msdos"
	GPT   TableKind = "gpt"
)

// FAT32From returns the minimum length of a vfat partition that holds a FAT32; a smaller one holds
// FAT12 or FAT16. A FAT32 has at least 65525 clusters, which are at least as large as sectors. With
// sectors of 512 bytes it could begin at 33 MiB, but some firmware needs a margin; with those of
// 4096 bytes at 257 MiB, and 260 MiB is the value of Microsoft's guide to such disks. The formatter
// must use the same limit, because the type byte in an msdos table depends on it.
func FAT32From(sectorSize Size) Size {
	if sectorSize == SectorSize4K {
		return 260 * MiB
	}
	return 64 * MiB
}

// Partition type bytes of an msdos table. They are a convention, listed for example in util-linux
// include/pt-mbr-partnames.h.
const (
	typeFAT16  = 0x0e // FAT16 (or FAT12), addressed by LBA
	typeFAT32  = 0x0c // FAT32, addressed by LBA
	typeSwap   = 0x82
	typeLinux  = 0x83
	typeGPT    = 0xee // protective entry that covers a GPT disk
	typeEFISys = 0xef
	typeHidden = 0x10 // added to the type of a FAT
)

// Partition type GUIDs: UEFI specification 2.10, 5.3.3; the Discoverable Partitions Specification
// (uapi-group.org/specifications); that of BIOS boot is GRUB's.
var (
	guidESP      = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	guidXBOOTLDR = uuid.MustParse("bc13c2ff-59e6-4262-a352-b275fd6f7172")
	guidSwap     = uuid.MustParse("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")
	guidBIOSBoot = uuid.MustParse("21686148-6449-6e6f-744e-656564454649")
	guidLinux    = uuid.MustParse("0fc63daf-8483-4772-8e79-3d69d8477de4")
)

// rootGUIDs are the types of root partitions by Debian architecture, from the Discoverable
// Partitions Specification. Debian architectures that it does not list (m68k, sh4, sparc64) use the
// general type for Linux.
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
	"mips":     uuid.MustParse("e9434544-6e2c-47cc-bae2-12d6deafb44c"),
	"ppc64":    uuid.MustParse("912ade1d-a839-4913-8964-a10eee08fbd2"),
	"powerpc":  uuid.MustParse("1de3f1ef-fa98-47b5-8dcd-4a860a654d78"),
	"alpha":    uuid.MustParse("6523f8ae-3eb1-4e2a-a05a-18b695ae656f"),
	"hppa":     uuid.MustParse("1aacdb3b-5444-4138-bd9e-e5c2239b2346"),
	"x32":      uuid.MustParse("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"), // that of amd64, whose kernel runs it
}

// rootVerityGUIDs are the types of the hash trees of such partitions.
var rootVerityGUIDs = map[string]uuid.UUID{
	"amd64":    uuid.MustParse("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
	"i386":     uuid.MustParse("d13c5d3b-b5d1-422a-b29f-9454fdc89d76"),
	"arm64":    uuid.MustParse("df3300ce-d69f-4c92-978c-9bfb0f38d820"),
	"armhf":    uuid.MustParse("7386cdf2-203c-47a9-a498-f2ecce45a2d6"),
	"armel":    uuid.MustParse("7386cdf2-203c-47a9-a498-f2ecce45a2d6"),
	"riscv64":  uuid.MustParse("b6ed5582-440b-4209-b8da-5ff7c419ea3d"),
	"ppc64el":  uuid.MustParse("906bd944-4589-4aae-a4e4-dd983917446a"),
	"s390x":    uuid.MustParse("b325bfbe-c7be-4ab8-8357-139e652d2f6b"),
	"loong64":  uuid.MustParse("f3393b22-e9af-4613-a948-9d3bfbd0c535"),
	"mips64el": uuid.MustParse("16b417f8-3e06-4f57-8dd2-9b5232f41aa6"),
	"mipsel":   uuid.MustParse("d7d150d2-2a04-4a33-8f12-16651205ff7b"),
	"ia64":     uuid.MustParse("86ed10d5-b607-45bb-8957-d350f23d0571"),
	"ppc64":    uuid.MustParse("9225a9a3-3c19-4d89-b4f6-eeff88f17631"),
	"powerpc":  uuid.MustParse("98cfe649-1588-46dc-b2f0-add147424925"),
	"alpha":    uuid.MustParse("fc56d9e9-e6e5-4c06-be32-e74407ce09a5"),
	"x32":      uuid.MustParse("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"), // that of amd64, whose kernel runs it
}

// GPT attribute bits: 0 and 2 from the UEFI specification, 59, 60 and 63 from the Discoverable Partitions
// Specification.
const (
	attrRequired   uint64 = 1 << 0  // the platform needs the partition; parted calls it hidden
	attrLegacyBoot uint64 = 1 << 2  // gptmbr.bin of syslinux and U-Boot start this partition
	attrGrowFS     uint64 = 1 << 59 // systemd-growfs enlarges the file system to its partition
	attrReadOnly   uint64 = 1 << 60 // it is mounted read-only
	attrNoAuto     uint64 = 1 << 63 // it is not mounted automatically
)

// flagEffect is what one flag of a partition changes in each kind of table. All are as set by
// parted(8), except "boot" on a GPT disk.
type flagEffect struct {
	name string
	// code is the type byte in an msdos table and guid the type in a GPT; zero if the flag does not
	// exist there.
	code byte
	guid uuid.UUID
	// attributes are the bits that are set in a GPT.
	attributes uint64
	// apply implements flags of an msdos table that are not types.
	apply func(*partitionType)
}

// flagEffects are all flags, in alphabetical order: libparted/labels/dos.c and gpt.c of parted 3.6.
var flagEffects = []flagEffect{
	{name: "bios_grub", guid: guidBIOSBoot},
	{name: "bls_boot", code: 0xea, guid: guidXBOOTLDR},
	// In a GPT, parted changes a partition with this flag to an ESP, which vmdebootstrap 1.7 did to
	// root partitions. Here it means the same as on msdos: boot code in sector 0 starts this
	// partition. It does not change an ESP.
	{name: "boot", attributes: attrLegacyBoot, apply: func(t *partitionType) { t.active = true }},
	{name: "chromeos_kernel", guid: uuid.MustParse("fe3a2a5d-4f32-41a7-b725-accc3285a309")},
	{name: "diag", code: 0x12, guid: uuid.MustParse("de94bba4-06d1-4d40-a16a-bfd50179d6ac")},
	{name: "esp", code: typeEFISys, guid: guidESP},
	{name: "hidden", attributes: attrRequired, apply: func(t *partitionType) {
		if t.code == typeFAT16 || t.code == typeFAT32 {
			t.code |= typeHidden // the other types in use have no hidden form
		}
	}},
	{name: "irst", code: 0x84, guid: uuid.MustParse("d3bfe2de-3daf-11df-ba40-e3a556d89593")},
	{name: "lba", apply: func(*partitionType) {}}, // the FAT types already are those addressed by LBA
	{name: "legacy_boot", attributes: attrLegacyBoot},
	{name: "linux-home", guid: uuid.MustParse("933ac7e1-2eb4-4f13-b844-0e14e2aef915")},
	{name: "lvm", code: 0x8e, guid: uuid.MustParse("e6d6d379-f507-44c2-a23c-238f2a3df928")},
	{name: "msftdata", guid: uuid.MustParse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")},
	{name: "msftres", code: 0x27, guid: uuid.MustParse("e3c9e316-0b5c-4db8-817d-f92df00215ae")},
	{name: "no_automount", attributes: attrNoAuto},
	{name: "palo", code: 0xf0},
	{name: "prep", code: 0x41, guid: uuid.MustParse("9e1a2d38-c612-4316-aa26-8b49521e5a8b")},
	{name: "raid", code: 0xfd, guid: uuid.MustParse("a19d880f-05fc-4d3b-a006-743f0f84911e")},
	{name: "swap", code: typeSwap, guid: guidSwap},
}

// Flags returns the flags that a partition can have, on at least one kind of table.
func Flags() []string {
	names := make([]string, len(flagEffects))
	for i, f := range flagEffects {
		names[i] = f.name
	}
	return names
}

// Flags returns the flags that a partition in such a table can have.
func (k TableKind) Flags() []string {
	return slices.DeleteFunc(Flags(), func(flag string) bool { return new(partitionType).set(flag, k) != nil })
}

// partitionType is how the two kinds of table record the purpose of a partition.
type partitionType struct {
	guid       uuid.UUID
	attributes uint64
	code       byte
	active     bool
}

// typeOf returns the type of a partition of size bytes.
func typeOf(r Request, size Size, p PartitionRequest) (partitionType, error) {
	var t partitionType
	code := filesystemCode(p.Filesystem.Type, size >= FAT32From(r.sectorSize()))
	switch p.Role {
	case RoleESP:
		t = partitionType{guid: guidESP, code: typeEFISys}
	case RoleBoot:
		t = partitionType{guid: guidXBOOTLDR, code: code}
	case RoleRoot, RoleRootB:
		guid, ok := rootGUIDs[r.Arch]
		if !ok {
			guid = guidLinux
		}
		t = partitionType{guid: guid, code: code}
		if ok && !p.ReadOnly && slices.Contains([]string{"ext4", "btrfs", "xfs"}, p.Filesystem.Type) {
			t.attributes |= attrGrowFS
		}
	case RoleRootVerity, RoleRootVerityB:
		guid, ok := rootVerityGUIDs[r.Arch]
		if !ok || r.Table != GPT {
			return t, fmt.Errorf("a hash tree of the root file system has no partition type for %s in a table of type %s",
				r.Arch, r.Table)
		}
		t = partitionType{guid: guid}
	case RoleSwap:
		t = partitionType{guid: guidSwap, code: typeSwap}
	case RoleBIOSBoot:
		if r.Table != GPT {
			return t, fmt.Errorf(
				"a BIOS boot partition needs a gpt table; on msdos GRUB uses the gap before the first partition")
		}
		t = partitionType{guid: guidBIOSBoot}
	default:
		return t, fmt.Errorf("unknown role %q", p.Role)
	}
	if p.ReadOnly {
		t.attributes |= attrReadOnly
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
	i := slices.IndexFunc(flagEffects, func(f flagEffect) bool { return f.name == flag })
	if i < 0 {
		return fmt.Errorf("unknown flag %q; known are %s", flag, strings.Join(Flags(), ", "))
	}
	f := flagEffects[i]
	switch isESP := t.guid == guidESP; {
	case kind == MSDOS && f.code != 0:
		t.code = f.code
	case kind == MSDOS && f.apply != nil:
		f.apply(t)
	case kind == MSDOS:
		return fmt.Errorf("flag %q needs a gpt table", flag)
	case f.guid != uuid.Nil:
		t.guid = f.guid
	case isESP && f.name == "boot":
	case f.attributes != 0:
		t.attributes |= f.attributes
	default:
		return fmt.Errorf("flag %q needs an msdos table", flag)
	}
	return nil
}

// filesystemCode returns the msdos type byte for a file system.
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
