// SPDX-License-Identifier: Apache-2.0

package fat

import "github.com/vmdebootstrap/vmdebootstrap/diskimage"

// bootSector is the part of the first sector that all FATs share (fatgen, "Boot Sector and BPB
// Structure").
type bootSector struct {
	Jump            [3]byte // 0x00 to the code after the parameters
	OEM             [8]byte // 0x03
	BytesPerSector  uint16  // 0x0b
	PerCluster      uint8   // 0x0d sectors
	Reserved        uint16  // 0x0e sectors before the first FAT
	FATs            uint8   // 0x10
	RootEntries     uint16  // 0x11 0 for FAT32
	Sectors16       uint16  // 0x13 0 if Sectors32 is used
	Media           uint8   // 0x15
	FATSectors16    uint16  // 0x16 0 for FAT32
	SectorsPerTrack uint16  // 0x18
	Heads           uint16  // 0x1a
	HiddenSectors   uint32  // 0x1c sectors of the disk before the partition
	Sectors32       uint32  // 0x20
}

// extension32 follows bootSector in a FAT32.
type extension32 struct {
	FATSectors  uint32   // 0x24
	Flags       uint16   // 0x28 0: all FATs are mirrored
	Version     uint16   // 0x2a
	RootCluster uint32   // 0x2c
	FSInfo      uint16   // 0x30 sector
	Backup      uint16   // 0x32 sector of the copy of the boot sector
	_           [12]byte // 0x34
}

// extension follows in every FAT: at 0x24 in a FAT12 or FAT16, at 0x40 in a FAT32.
type extension struct {
	Drive     uint8 // BIOS number
	_         uint8
	Signature uint8 // the next three fields are present
	Serial    uint32
	Label     shortName
	Type      [8]byte // informative only
}

// fsInfo is a sector of a FAT32 that saves counting free clusters (fatgen, "FAT32 FSInfo Sector Structure").
type fsInfo struct {
	LeadSignature   uint32    // 0x000
	_               [480]byte // 0x004
	StructSignature uint32    // 0x1e4
	Free            uint32    // 0x1e8 number of free clusters
	Last            uint32    // 0x1ec where to start looking for one
	_               [12]byte  // 0x1f0
	TrailSignature  uint32    // 0x1fc
}

const (
	bootSectorSize   = 512  // 55 AA is here for every sector size; the rest of the sector is zeros
	mediaDisk        = 0xf8 // a fixed disk; also the low byte of entry 0 of the FAT
	driveHardDisk    = 0x80
	sectorsPerTrack  = 63 // the geometry that BIOSes assume for disks of more than 504 MiB
	heads            = 255
	extensionPresent = 0x29

	fsInfoSector  = 1
	backupSector  = 6
	leadSignature = 0x41615252 // "RRaA"
	structSign    = 0x61417272 // "rrAa"
	trailSign     = 0xaa550000
)

// BootSectorCopy returns the sector with the copy of the boot sector in a partition of this size,
// or 0 for a FAT12 or FAT16, which have no copy. fsck.fat complains if the two differ.
func BootSectorCopy(size, sectorSize diskimage.Size) uint64 {
	if size < diskimage.FAT32From(sectorSize) {
		return 0
	}
	return backupSector
}

// noBoot is the code for a BIOS that boots this partition: int 0x18 (try the next disk), then hlt
// in a loop.
var noBoot = []byte{0xcd, 0x18, 0xf4, 0xeb, 0xfd}

// bootSector returns the first sector.
func (v *volume) bootSector() []byte {
	s := bootSector{
		// The name that fatgen recommends, because some software checks it.
		OEM:            [8]byte([]byte("MSWIN4.1")),
		BytesPerSector: uint16(v.sectorSize), PerCluster: uint8(v.perCluster), Reserved: uint16(v.reserved),
		FATs:        fatCopies,
		RootEntries: uint16(v.rootEntries), Media: mediaDisk, SectorsPerTrack: sectorsPerTrack, Heads: heads,
		HiddenSectors: v.hidden,
	}
	if v.bits != 32 && v.sectors < 1<<16 {
		s.Sectors16 = uint16(v.sectors)
	} else {
		s.Sectors32 = v.sectors
	}
	x := extension{Drive: driveHardDisk, Signature: extensionPresent, Serial: v.serial, Label: v.label}
	var b []byte
	switch v.bits {
	case 32:
		s.Jump, x.Type = [3]byte{0xeb, 0x58, 0x90}, [8]byte([]byte("FAT32   "))
		b = appendEntry(b, s)
		b = appendEntry(b, extension32{
			FATSectors: v.fat, RootCluster: v.root.cluster, FSInfo: fsInfoSector, Backup: backupSector,
		})
	default:
		s.Jump, s.FATSectors16, x.Type = [3]byte{0xeb, 0x3c, 0x90}, uint16(v.fat), [8]byte([]byte("FAT16   "))
		if v.bits == 12 {
			x.Type = [8]byte([]byte("FAT12   "))
		}
		b = appendEntry(b, s)
	}
	b = append(appendEntry(b, x), noBoot...)
	b = append(b, make([]byte, bootSectorSize-len(b))...)
	b[bootSectorSize-2], b[bootSectorSize-1] = 0x55, 0xaa
	return b
}

// fsInfo returns the FSInfo sector of a FAT32.
func (v *volume) fsInfo() []byte {
	return appendEntry(nil, fsInfo{
		LeadSignature: leadSignature, StructSignature: structSign, TrailSignature: trailSign,
		Free: v.clusters - v.used(), Last: firstCluster + v.used() - 1,
	})
}

// encodeFAT returns the used part of the FAT, in whole sectors. The entry of each cluster is the
// number of the next one.
func (v *volume) encodeFAT() []byte {
	end := uint32(1)<<v.bits - 1
	if v.bits == 32 {
		end = 1<<28 - 1 // the upper four bits are reserved
	}
	entries := make([]uint32, firstCluster, firstCluster+v.used())
	entries[0] = end&^0xff | mediaDisk
	entries[1] = end // clean shutdown, no errors
	for _, c := range v.chains {
		for i := range c.count - 1 {
			entries = append(entries, c.first+i+1)
		}
		entries = append(entries, end)
	}
	b := packEntries(entries, v.bits)
	if rest := len(b) % int(v.sectorSize); rest != 0 {
		b = append(b, make([]byte, int(v.sectorSize)-rest)...)
	}
	return b
}

// packEntries encodes numbers of 12, 16 or 32 bits in little-endian order. Two numbers of 12 bits
// share three bytes.
func packEntries(entries []uint32, bits int) []byte {
	b := make([]byte, (len(entries)*bits+7)/8)
	for i, entry := range entries {
		at := i * bits / 8
		switch bits {
		case 12:
			value := uint16(entry)
			if i%2 == 1 {
				value <<= 4
			}
			b[at] |= byte(value)
			b[at+1] |= byte(value >> 8)
		case 16:
			b[at], b[at+1] = byte(entry), byte(entry>>8)
		default:
			b[at], b[at+1], b[at+2], b[at+3] = byte(entry), byte(entry>>8), byte(entry>>16), byte(entry>>24)
		}
	}
	return b
}
