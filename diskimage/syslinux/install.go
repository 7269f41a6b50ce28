// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Placement describes the location of a file system and of ldlinux.sys in it.
type Placement struct {
	// StartLBA and Sectors are those of the partition.
	StartLBA, Sectors uint64
	// File is the location of ldlinux.sys, in bytes from the start of the partition
	// (Volume.Extents).
	File []diskimage.Extent
	// Directory is the directory of ldlinux.sys and the configuration: "/" is the root of the file
	// system. Empty is also the root, in the form that the installer for FAT writes.
	Directory string
	// FAT keeps the parameters in the boot sector of a FAT.
	FAT bool
	// Copy is the sector of the partition with a FAT32's copy of the boot sector, or 0 if there is
	// none. syslinux does not change the copy, but fsck.fat, which runs whenever the machine boots,
	// complains about a difference.
	Copy uint64
}

// Offsets in the boot sector, which looks like that of a FAT (libinstaller/syslxint.h, struct
// fat_boot_sector).
const (
	bytesPerSector  = 0x0b // u16
	totalSectors16  = 0x13 // u16, 0 if there are more
	sectorsPerTrack = 0x18 // u16
	heads           = 0x1a // u16
	hiddenSectors   = 0x1c // u32
	totalSectors32  = 0x20 // u32
	headEnd         = 0x0b // jump and OEM name precede the parameters
	codeStart       = 0x5a // after the longest parameters, those of FAT32
)

// The geometry that every BIOS translation of a modern disk has.
const (
	geometrySectors = 63
	geometryHeads   = 255
)

// patchArea is the header in ldlinux.sys with data about the loader itself (struct patch_area). at
// is the offset of its magic number.
type patchArea struct{ at int }

const (
	dataSectors = 8  // u16: sectors of the image
	advSectors  = 10 // u16: sectors after it
	dwords      = 12 // u32: length of the image in dwords
	checksum    = 16 // u32: makes the sum of all dwords the magic number
	extOffset   = 22 // u16: offset of the extended area
	areaEnd     = 24
)

// Indexes of the u16 fields of the extended area (struct ext_patch_area). Each is an offset in
// ldlinux.sys, or in the boot sector for the sector pointers.
const (
	extADV        = iota // two u64 sector numbers of the auxiliary data
	extDir               // current directory, a string
	extDirLen            // its maximum length
	extSubvol            // btrfs subvolume, not used
	extSubvolLen         //
	extSectors           // table of extents
	extNumSectors        // its length in extents
	extSect1Low          // offset in the boot sector: low half of the first sector's number
	extSect1High         // high half
	extFields
)

// findPatchArea searches for the magic number on dword boundaries, as libinstaller does.
func findPatchArea(image []byte) (patchArea, error) {
	for at := 0; at+areaEnd <= len(image); at += dwordSize {
		if binary.LittleEndian.Uint32(image[at:]) == magic {
			return patchArea{at}, nil
		}
	}
	return patchArea{}, errors.New("ldlinux.sys has no patch area")
}

// extended decodes the extended area and checks that its offsets are inside the image.
func (a patchArea) extended(image []byte) (f [extFields]int, err error) {
	at := int(binary.LittleEndian.Uint16(image[a.at+extOffset:]))
	if at+2*extFields > len(image) {
		return f, fmt.Errorf("the extended patch area of ldlinux.sys is at %#x, outside the file", at)
	}
	for i := range f {
		f[i] = int(binary.LittleEndian.Uint16(image[at+2*i:]))
	}
	ends := []int{f[extADV] + 2*8, f[extDir] + f[extDirLen], f[extSectors] + f[extNumSectors]*extentSize}
	for _, end := range ends {
		if end > len(image) {
			return f, fmt.Errorf("a field of ldlinux.sys ends at %#x, outside the file", end)
		}
	}
	if max(f[extSect1Low], f[extSect1High])+dwordSize > magicInBootSector {
		return f, errors.New("ldlinux.sys has offsets outside the boot sector")
	}
	return f, nil
}

// Install returns the partition's boot sector and the content of ldlinux.sys for the location p.
// bootSector is written to the start of the partition, file to the extents of p, in their order.
func (l Loader) Install(p Placement) (bootSector []diskimage.Patch, file []byte, err error) {
	sectors, err := p.fileSectors(len(l.image) + advCopies*sectorSize)
	if err != nil {
		return nil, nil, fmt.Errorf("location of ldlinux.sys: %w", err)
	}
	image := bytes.Clone(l.image)
	area, err := findPatchArea(image)
	if err != nil {
		return nil, nil, err
	}
	ext, err := area.extended(image)
	if err != nil {
		return nil, nil, err
	}
	n := len(image) / sectorSize
	binary.LittleEndian.PutUint16(image[area.at+dataSectors:], uint16(n))
	binary.LittleEndian.PutUint16(image[area.at+advSectors:], advCopies)
	binary.LittleEndian.PutUint32(image[area.at+dwords:], uint32(len(image)/dwordSize))

	// The boot sector loads the first sector, which loads the rest.
	if err := putExtents(image[ext[extSectors]:], ext[extNumSectors], sectors[1:n]); err != nil {
		return nil, nil, err
	}
	for i, s := range sectors[n:] {
		binary.LittleEndian.PutUint64(image[ext[extADV]+8*i:], s)
	}
	if len(p.Directory)+1 > ext[extDirLen] {
		return nil, nil, fmt.Errorf("directory %q is too long: the maximum is %d bytes", p.Directory, ext[extDirLen]-1)
	}
	dir := image[ext[extDir] : ext[extDir]+ext[extDirLen]]
	clear(dir)
	copy(dir, p.Directory)
	putChecksum(image[area.at+checksum:], image)
	return l.bootSectorFor(p, sectors[0], ext), append(image, adv()...), nil
}

// bootSectorFor returns the boot sector with all values filled in.
func (l Loader) bootSectorFor(p Placement, first uint64, ext [extFields]int) []diskimage.Patch {
	s := l.bootSector
	binary.LittleEndian.PutUint16(s[bytesPerSector:], sectorSize)
	clear(s[totalSectors16 : totalSectors16+2])
	if p.Sectors <= math.MaxUint16 {
		binary.LittleEndian.PutUint16(s[totalSectors16:], uint16(p.Sectors))
	}
	binary.LittleEndian.PutUint16(s[sectorsPerTrack:], geometrySectors)
	binary.LittleEndian.PutUint16(s[heads:], geometryHeads)
	binary.LittleEndian.PutUint32(s[hiddenSectors:], uint32(min(p.StartLBA, math.MaxUint32)))
	binary.LittleEndian.PutUint32(s[totalSectors32:], uint32(min(p.Sectors, math.MaxUint32)))
	binary.LittleEndian.PutUint32(s[ext[extSect1Low]:], uint32(first))
	binary.LittleEndian.PutUint32(s[ext[extSect1High]:], uint32(first>>32))

	start := int64(p.StartLBA) * sectorSize
	const what = "syslinux boot sector"
	if !p.FAT {
		return []diskimage.Patch{{Offset: start, Data: s[:], What: what}}
	}
	patches := []diskimage.Patch{
		{Offset: start, Data: s[:headEnd], What: what},
		{Offset: start + codeStart, Data: s[codeStart:], What: what},
	}
	if p.Copy != 0 {
		at := start + int64(p.Copy)*sectorSize
		patches = append(patches,
			diskimage.Patch{Offset: at, Data: s[:headEnd], What: what},
			diskimage.Patch{Offset: at + codeStart, Data: s[codeStart:], What: what})
	}
	return patches
}

// fileSectors returns the sectors of ldlinux.sys, which has size bytes, relative to the partition.
func (p Placement) fileSectors(size int) ([]uint64, error) {
	count := size / sectorSize
	sectors := make([]uint64, 0, count)
	for _, e := range p.File {
		if e.Offset%sectorSize != 0 || e.Length%sectorSize != 0 {
			return nil, fmt.Errorf("%d bytes from byte %d are not whole sectors", e.Length, e.Offset)
		}
		if e.Offset < 0 || e.Length < 0 || uint64(e.Offset/sectorSize)+uint64(e.Length/sectorSize) > p.Sectors {
			return nil, fmt.Errorf("%d bytes from byte %d are not inside a partition of %d sectors", e.Length, e.Offset,
				p.Sectors)
		}
		for at := int64(0); at < e.Length && len(sectors) < count; at += sectorSize {
			sectors = append(sectors, uint64((e.Offset+at)/sectorSize))
		}
	}
	if len(sectors) < count {
		return nil, fmt.Errorf("%d of its %d sectors are on the disk: it has holes", len(sectors), count)
	}
	return sectors, nil
}

const (
	// extentSize is that of struct syslinux_extent: LBA u64, length in sectors u16.
	extentSize = 10
	// maxExtent keeps an extent below 64 KiB. The original also checks segment boundaries, but
	// compares two ends of the same sector, so that it never finds a crossing
	// (libinstaller/syslxmod.c, generate_extents).
	maxExtent = 0x10000/sectorSize - 1
)

// putExtents writes the table of the sectors' extents; the rest of its room becomes zero.
func putExtents(table []byte, room int, sectors []uint64) error {
	clear(table[:room*extentSize])
	used := 0
	for len(sectors) > 0 {
		n := 1
		for n < len(sectors) && n < maxExtent && sectors[n] == sectors[0]+uint64(n) {
			n++
		}
		if used == room {
			return fmt.Errorf("ldlinux.sys has more than %d extents", room)
		}
		binary.LittleEndian.PutUint64(table[used*extentSize:], sectors[0])
		binary.LittleEndian.PutUint16(table[used*extentSize+8:], uint16(n))
		used++
		sectors = sectors[n:]
	}
	return nil
}

// putChecksum makes the sum of all dwords of the image equal to the magic number.
func putChecksum(at, image []byte) {
	binary.LittleEndian.PutUint32(at, 0)
	sum := uint32(magic)
	for i := 0; i < len(image); i += dwordSize {
		sum -= binary.LittleEndian.Uint32(image[i:])
	}
	binary.LittleEndian.PutUint32(at, sum)
}

// The auxiliary data vector, in which extlinux --once stores a command line
// (libinstaller/setadv.c). Two copies follow the image.
const (
	advCopies = 2
	advMagic1 = 0x5a2d2fa5 // at the start
	advMagic2 = 0xa3041767 // at 4, minus the sum of the dwords after it
	advMagic3 = 0xdd28bf64 // in the last dword
)

// adv returns two copies of an empty vector.
func adv() []byte {
	var v [sectorSize]byte
	binary.LittleEndian.PutUint32(v[0:], advMagic1)
	binary.LittleEndian.PutUint32(v[4:], advMagic2)
	binary.LittleEndian.PutUint32(v[sectorSize-dwordSize:], advMagic3)
	return bytes.Repeat(v[:], advCopies)
}
