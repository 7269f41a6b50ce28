// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

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
}

// Section returns a reader of the partition's bytes.
func (p FoundPartition) Section(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, int64(p.Start), int64(p.Size))
}

// ReadTable returns the partitions of a disk of size bytes with sectors of 512 bytes, sorted by
// number. The error wraps ErrNoTable if there is neither a GPT nor an msdos table. Not supported:
// logical partitions.
func ReadTable(r io.ReaderAt, size Size) ([]FoundPartition, error) {
	if err := checkGPTEntries(r, size); err != nil {
		return nil, err
	}
	file := &tableFile{RawFile: readOnly{r}, size: int64(size)}
	var found []FoundPartition
	if table, err := gpt.Read(file, int(SectorSize), int(SectorSize)); err == nil {
		for _, p := range table.Partitions {
			kind, err := uuid.Parse(string(p.Type))
			if err != nil || kind == uuid.Nil {
				continue
			}
			found = append(found, FoundPartition{
				Number: p.Index, Start: Size(p.Start) * SectorSize, Size: Size(p.End-p.Start+1) * SectorSize,
				Type:  kind,
				Label: p.Name,
			})
		}
	} else {
		table, err := mbr.Read(file, int(SectorSize), int(SectorSize))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoTable, err)
		}
		for i, p := range table.Partitions {
			if p.Type != mbr.Empty && p.Size > 0 {
				found = append(found, FoundPartition{
					Number: i + 1, Start: Size(p.Start) * SectorSize, Size: Size(p.Size) * SectorSize,
					Code: byte(p.Type),
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

// checkGPTEntries returns an error for a GPT, at either end of the disk, whose entries have a
// different size from the kernel's, or need more than the 4 MiB of them that the kernel reads
// (is_gpt_valid in block/partitions/efi.c). go-diskfs does not check either number.
func checkGPTEntries(r io.ReaderAt, size Size) error {
	const signature, most = "EFI PART", 4 << 20 / gptEntrySize
	for _, at := range []Size{SectorSize, size - SectorSize} {
		header := make([]byte, 92)
		if size < 2*SectorSize {
			return nil
		}
		if _, err := r.ReadAt(header, int64(at)); err != nil {
			return nil // gpt.Read reports that
		}
		entries, entrySize := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
		if string(header[:len(signature)]) == signature && (entries > most || entrySize != gptEntrySize) {
			return fmt.Errorf("a GPT with %d entries of %d bytes is not supported", entries, entrySize)
		}
	}
	return nil
}

// readOnly is a RawFile that cannot be written to.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errNotUsed }
func (readOnly) Truncate(int64) error               { return errNotUsed }
