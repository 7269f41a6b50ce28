// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/google/uuid"
)

// mbrSignatureAt is the offset of the disk signature in the master boot record, 4 bytes; 2 reserved
// bytes and the entries follow (UEFI specification 2.10, 5.2.1 to 5.2.3).
const mbrSignatureAt = 440

// Addresses by cylinder, head and sector are used only by systems that do not know LBA. They cannot
// represent sectors beyond 8 GB, for which the largest address is stored.
const (
	chsHeads   = 255
	chsSectors = 63
	chsMax     = 1024 * chsHeads * chsSectors
)

// WriteTable writes the partition table of a layout to w, which must already have its length: on a
// GPT disk the protective MBR and both copies. Boot code in the first 440 bytes is kept. go-diskfs
// encodes the table; WriteTable adds what it leaves out: the disk signature and CHS addresses of an
// msdos table, and the CHS addresses and the length of the protective entry. (go-diskfs also checks
// nothing, which NewLayout does, and its functions for the content of partitions are not used,
// because on msdos they count in 32 bits.) At the end the table is read back and compared.
func WriteTable(w RawFile, l Layout) error {
	file := &tableFile{RawFile: w, size: int64(l.Size)}
	switch l.Table {
	case MSDOS:
		if err := writeMSDOS(file, l); err != nil {
			return err
		}
		return compareMSDOS(file, l)
	case GPT:
		if err := writeGPT(file, l); err != nil {
			return err
		}
		return compareGPT(file, l)
	default:
		return fmt.Errorf("BUG: unknown partition table %q", l.Table)
	}
}

// writeMSDOS writes entries, disk signature and 55 AA.
func writeMSDOS(file *tableFile, l Layout) error {
	// The index of partition n is n-1.
	entries := make([]*mbr.Partition, msdosEntries)
	for i := range entries {
		entries[i] = new(mbr.Partition)
	}
	for _, p := range l.Partitions {
		first, last := chs(p.StartLBA()), chs(p.StartLBA()+p.Sectors()-1)
		entries[p.Number-1] = &mbr.Partition{
			Index: p.Number, Bootable: p.Active, Type: mbr.Type(p.Code), Start: uint32(p.StartLBA()),
			Size:      uint32(p.Sectors()),
			StartHead: first[0], StartSector: first[1], StartCylinder: first[2],
			EndHead: last[0], EndSector: last[1], EndCylinder: last[2],
		}
	}
	table := mbr.Table{Partitions: entries, LogicalSectorSize: int(l.SectorSize), PhysicalSectorSize: int(l.SectorSize)}
	if err := table.Write(file, file.size); err != nil {
		return cmp.Or(file.failed, err)
	}
	_, err := file.WriteAt(binary.LittleEndian.AppendUint32(nil, l.Signature()), mbrSignatureAt)
	return err
}

// writeGPT writes the protective MBR and both copies of the GPT.
func writeGPT(file *tableFile, l Layout) error {
	table := gpt.Table{
		LogicalSectorSize: int(l.SectorSize), PhysicalSectorSize: int(l.SectorSize), GUID: upper(l.ID),
		ProtectiveMBR: true,
	}
	for _, p := range l.Partitions {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: p.Number, Start: p.StartLBA(), End: p.StartLBA() + p.Sectors() - 1, Type: gpt.Type(upper(p.Type)),
			Name: p.Label, GUID: upper(p.ID), Attributes: p.Attributes,
		})
	}
	if err := table.Write(file, file.size); err != nil {
		return cmp.Or(file.failed, err)
	}
	_, err := file.WriteAt(protectiveEntry(l), entriesStart)
	return err
}

// protectiveEntry returns the first entry of the MBR of a GPT disk. It covers the whole disk, so
// that old tools do not change it.
func protectiveEntry(l Layout) []byte {
	sectors := uint64(l.Size/l.SectorSize) - 1
	entry := []byte{
		0x00,             // not active
		0x00, 0x02, 0x00, // first sector: cylinder 0, head 0, sector 2, which is LBA 1
		typeGPT,
		0xff, 0xff, 0xff, // last sector: out of range
		0x01, 0x00, 0x00, 0x00, // first sector, LBA
	}
	return binary.LittleEndian.AppendUint32(entry, uint32(min(sectors, 1<<32-1)))
}

// chs returns the CHS address of a sector in the form of an entry: head; sector and bits 8 and 9 of
// the cylinder; cylinder.
func chs(lba uint64) [3]byte {
	if lba >= chsMax {
		return [3]byte{0xfe, 0xff, 0xff} // as fdisk and parted do
	}
	cylinder := lba / (chsHeads * chsSectors)
	head := lba / chsSectors % chsHeads
	sector := lba%chsSectors + 1
	return [3]byte{byte(head), byte(sector | cylinder>>8<<6), byte(cylinder)}
}

// compareMSDOS reads the table and compares it with the layout.
func compareMSDOS(file *tableFile, l Layout) error {
	table, err := mbr.Read(file, int(l.SectorSize), int(l.SectorSize))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if want := fmt.Sprintf("%08x", l.Signature()); table.UUID() != want {
		return fmt.Errorf("read back: disk signature is %s, want %s", table.UUID(), want)
	}
	found := 0
	for _, got := range table.Partitions {
		if got.Type != mbr.Empty {
			found++
		}
	}
	if found != len(l.Partitions) {
		return fmt.Errorf("read back: %d partitions, want %d", found, len(l.Partitions))
	}
	for _, p := range l.Partitions {
		got := table.Partitions[p.Number-1]
		same := uint64(got.Start) == p.StartLBA() && uint64(got.Size) == p.Sectors() && byte(got.Type) == p.Code &&
			got.Bootable == p.Active
		if !same {
			return fmt.Errorf("read back: %s is not as written: %+v", p, *got)
		}
	}
	return nil
}

// compareGPT reads the table and compares it with the layout. gpt.Read verifies the checksums.
func compareGPT(file *tableFile, l Layout) error {
	table, err := gpt.Read(file, int(l.SectorSize), int(l.SectorSize))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if table.RecoveredFromBackup || table.GUID != upper(l.ID) || len(table.Partitions) != len(l.Partitions) {
		return fmt.Errorf("read back: disk %s with %d partitions, want %s with %d",
			table.GUID, len(table.Partitions), upper(l.ID), len(l.Partitions))
	}
	byNumber := make(map[int]*gpt.Partition)
	for _, got := range table.Partitions {
		byNumber[got.Index] = got
	}
	for _, p := range l.Partitions {
		got, ok := byNumber[p.Number]
		if !ok {
			return fmt.Errorf("read back: %s is missing", p)
		}
		same := got.Start == p.StartLBA() && got.End == p.StartLBA()+p.Sectors()-1 &&
			got.Type == gpt.Type(upper(p.Type)) &&
			got.GUID == upper(p.ID) && got.Attributes == p.Attributes && got.Name == p.Label
		if !same {
			return fmt.Errorf("read back: %s is not as written: %+v", p, *got)
		}
	}
	return nil
}

// upper formats a GUID as go-diskfs compares them.
func upper(id uuid.UUID) string { return strings.ToUpper(id.String()) }

// tableFile adapts a RawFile to go-diskfs. It has no Sync, because go-diskfs would call it five
// times per table.
type tableFile struct {
	RawFile
	size   int64
	failed error // the first error of WriteAt; go-diskfs keeps only its text
}

var (
	_ backend.WritableFile = (*tableFile)(nil)

	errNotUsed = errors.New("BUG: not used for partition tables")
)

func (f *tableFile) Read([]byte) (int, error)   { return 0, errNotUsed }
func (f *tableFile) Stat() (fs.FileInfo, error) { return nil, errNotUsed }
func (f *tableFile) Close() error               { return nil }

// WriteAt implements io.WriterAt.
func (f *tableFile) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.RawFile.WriteAt(b, offset)
	f.failed = cmp.Or(f.failed, err)
	return n, err
}

// Seek implements io.Seeker only as far as go-diskfs needs it to find the length.
func (f *tableFile) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekEnd {
		return 0, errNotUsed
	}
	return f.size, nil
}
