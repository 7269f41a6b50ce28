// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/google/uuid"
)

// ErrNoTable reports that a disk has no partition table.
var ErrNoTable = errors.New("no partition table")

// FoundPartition is a partition of an existing disk, as described by its table.
type FoundPartition struct {
	Number      int
	Start, Size Size
	// Type is the GUID of a GPT entry, Code the type of an msdos entry; the other one is zero.
	Type  uuid.UUID
	Code  byte
	Label string // of a GPT entry
	// UUID is the PARTUUID in the form of blkid(8): a GUID, or "1234abcd-01" of an msdos table.
	UUID string
	// Bootable reports whether boot code in sector 0 starts it: an active entry of an msdos table, or
	// the attribute legacy_boot of a GPT entry.
	Bootable bool
}

// Table returns the kind of table that the partition is in.
func (p FoundPartition) Table() TableKind {
	if p.Type != uuid.Nil {
		return GPT
	}
	return MSDOS
}

// TypeName returns the name of the partition's type: a Role, "linux", a name of parted(8), or the
// number itself.
func (p FoundPartition) TypeName() string {
	for _, t := range typeNames {
		if p.Type != uuid.Nil && p.Type == t.guid || p.Type == uuid.Nil && t.code != 0 && p.Code == t.code {
			return t.name
		}
	}
	for _, guid := range rootGUIDs {
		if p.Type == guid {
			return string(RoleRoot)
		}
	}
	for _, guid := range rootVerityGUIDs {
		if p.Type == guid {
			return string(RoleRootVerity)
		}
	}
	for _, f := range flagEffects {
		if p.Type != uuid.Nil && p.Type == f.guid || p.Type == uuid.Nil && f.code != 0 && p.Code == f.code {
			return f.name
		}
	}
	if p.Type != uuid.Nil {
		return p.Type.String()
	}
	return fmt.Sprintf("0x%02x", p.Code)
}

// typeNames are the types whose name is not that of a flag.
var typeNames = []struct {
	name string
	guid uuid.UUID
	code byte
}{
	{string(RoleESP), guidESP, typeEFISys}, {string(RoleBoot), guidXBOOTLDR, 0}, {string(RoleSwap), guidSwap, typeSwap},
	{string(RoleBIOSBoot), guidBIOSBoot, 0}, {"linux", guidLinux, typeLinux}, {"fat16", uuid.Nil, typeFAT16},
	{"fat32", uuid.Nil, typeFAT32},
}

// Section returns a reader of the partition's bytes.
func (p FoundPartition) Section(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, int64(p.Start), int64(p.Size))
}

// ReadTable returns the partitions of a disk of size bytes, sorted by number. DetectSectorSize
// returns the size of its sectors. The error wraps ErrNoTable if there is neither a GPT nor an msdos
// table. Not supported: logical partitions.
func ReadTable(r io.ReaderAt, size Size) ([]FoundPartition, error) {
	sector := DetectSectorSize(r, size)
	if err := checkGPTEntries(r, size, sector); err != nil {
		return nil, err
	}
	file := &tableFile{RawFile: readOnly{r}, size: int64(size)}
	var found []FoundPartition
	if table, err := gpt.Read(file, int(sector), int(sector)); err == nil {
		for _, p := range table.Partitions {
			kind, err := uuid.Parse(string(p.Type))
			if err != nil || kind == uuid.Nil {
				continue
			}
			found = append(found, FoundPartition{
				Number: p.Index, Start: Size(p.Start) * sector, Size: Size(p.End-p.Start+1) * sector,
				Type:  kind,
				Label: p.Name, UUID: strings.ToLower(p.GUID), Bootable: p.Attributes&attrLegacyBoot != 0,
			})
		}
	} else {
		table, err := mbr.Read(file, int(sector), int(sector))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoTable, err)
		}
		for i, p := range table.Partitions {
			if p.Type != mbr.Empty && p.Size > 0 {
				found = append(found, FoundPartition{
					Number: i + 1, Start: Size(p.Start) * sector, Size: Size(p.Size) * sector,
					Code: byte(p.Type), UUID: fmt.Sprintf("%s-%02x", table.UUID(), i+1), Bootable: p.Bootable,
				})
			}
		}
	}
	for _, p := range found {
		if p.Start > size || p.Size > size-p.Start {
			return nil, fmt.Errorf("partition %d is outside the disk", p.Number)
		}
	}
	slices.SortFunc(found, func(a, b FoundPartition) int { return a.Number - b.Number })
	if len(found) == 0 {
		return nil, ErrNoTable
	}
	return found, nil
}

// gptSignature is at the start of both headers of a GPT.
const gptSignature = "EFI PART"

// DetectSectorSize returns the sector size of the disk that an image of size bytes is for:
// SectorSize4K if that is where its GPT has its headers or, for an msdos table, which does not say
// it, where a partition starts with a file system; else SectorSize.
func DetectSectorSize(r io.ReaderAt, size Size) Size {
	for _, sector := range []Size{SectorSize, SectorSize4K} {
		if hasBytes(r, sector, gptSignature) || size >= 2*sector && hasBytes(r, size-sector, gptSignature) {
			return sector
		}
	}
	table, err := mbr.Read(&tableFile{RawFile: readOnly{r}, size: int64(size)}, int(SectorSize), int(SectorSize))
	if err != nil {
		return SectorSize
	}
	for _, p := range table.Partitions {
		if p.Type == mbr.Empty || p.Start == 0 {
			continue
		}
		for _, sector := range []Size{SectorSize, SectorSize4K} {
			if startsFilesystem(r, Size(p.Start)*sector, sector) {
				return sector
			}
		}
	}
	return SectorSize
}

// IsDisk reports whether firmware may find something to start on a disk of size bytes: a partition
// table, or a boot sector.
func IsDisk(r io.ReaderAt, size Size) bool {
	const bootMagicAt, bootMagic = 510, "\x55\xaa"
	if hasBytes(r, bootMagicAt, bootMagic) {
		return true
	}
	_, err := ReadTable(r, size)
	return err == nil
}

// startsFilesystem reports whether a file system of ext or FAT starts there; a FAT has its sector
// size in its first sector (fatgen, BPB_BytsPerSec).
func startsFilesystem(r io.ReaderAt, start, sector Size) bool {
	const extMagicAt, extMagic, fatSectorAt, fatMagicAt, fatMagic = 1024 + 56, "\x53\xef", 11, 510, "\x55\xaa"
	fatSector := binary.LittleEndian.AppendUint16(nil, uint16(sector))
	return hasBytes(r, start+extMagicAt, extMagic) ||
		hasBytes(r, start+fatMagicAt, fatMagic) && hasBytes(r, start+fatSectorAt, string(fatSector))
}

// hasBytes reports whether the bytes at an offset are those of want.
func hasBytes(r io.ReaderAt, at Size, want string) bool {
	got := make([]byte, len(want))
	_, err := r.ReadAt(got, int64(at))
	return err == nil && string(got) == want
}

// checkGPTEntries returns an error for a GPT, at either end of the disk, whose entries have a
// different size from the kernel's, or need more than the 4 MiB of them that the kernel reads
// (is_gpt_valid in block/partitions/efi.c). go-diskfs does not check either number.
func checkGPTEntries(r io.ReaderAt, size, sector Size) error {
	const most = 4 << 20 / gptEntrySize
	for _, at := range []Size{sector, size - sector} {
		header := make([]byte, 92)
		if size < 2*sector {
			return nil
		}
		if _, err := r.ReadAt(header, int64(at)); err != nil {
			return nil // gpt.Read reports that
		}
		entries, entrySize := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
		if string(header[:len(gptSignature)]) == gptSignature && (entries > most || entrySize != gptEntrySize) {
			return fmt.Errorf("a GPT with %d entries of %d bytes is not supported", entries, entrySize)
		}
	}
	return nil
}

// readOnly is a RawFile that cannot be written to.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errNotUsed }
func (readOnly) Truncate(int64) error               { return errNotUsed }
