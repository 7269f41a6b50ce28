// SPDX-License-Identifier: Apache-2.0

package vhdx

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Offsets and lengths of the fixed parts of the file, in bytes.
const (
	identifierOffset = 0
	headerOffset     = 64 << 10
	header2Offset    = 128 << 10
	regionOffset     = 192 << 10
	region2Offset    = 256 << 10
	regionTableSize  = 64 << 10

	logOffset      = 1 << 20
	logSize        = 1 << 20
	metadataOffset = 2 << 20
	metadataSize   = 1 << 20
	itemsOffset    = 64 << 10 // of the metadata items in their region, after the table
	batOffset      = 3 << 20
	// regionUnit is the alignment and granularity of regions and blocks.
	regionUnit = 1 << 20
)

// fileIdentifier is the start of the file. All numbers are little-endian.
type fileIdentifier struct {
	Signature [8]byte     // 0
	Creator   [256]uint16 // 8: UTF-16
}

// header contains the location of the log. There are two headers; the one with the higher sequence
// number is valid.
type header struct {
	Signature      [4]byte    // 0
	Checksum       uint32     // 4
	SequenceNumber uint64     // 8
	FileWriteID    [16]byte   // 16: changes with the file
	DataWriteID    [16]byte   // 32: changes with the content of the disk
	LogID          [16]byte   // 48: 0, the log is empty
	LogVersion     uint16     // 64
	Version        uint16     // 66
	LogLength      uint32     // 68
	LogOffset      uint64     // 72
	_              [4016]byte // 80
}

// regionTable contains the locations of the other regions. The file has two copies.
type regionTable struct {
	Signature [4]byte      // 0
	Checksum  uint32       // 4
	Count     uint32       // 8
	_         uint32       // 12
	Entries   [2]region    // 16
	_         [65456]uint8 // 80
}

type region struct {
	ID       [16]byte // 0
	Offset   uint64   // 16
	Length   uint32   // 24
	Required uint32   // 28
}

// metadataTable contains the locations of the metadata items.
type metadataTable struct {
	Signature [8]byte           // 0
	_         uint16            // 8
	Count     uint16            // 10
	_         [20]byte          // 12
	Entries   [5]metadataRecord // 32
}

type metadataRecord struct {
	ID     [16]byte // 0
	Offset uint32   // 16: in the region
	Length uint32   // 20
	Flags  uint32   // 24
	_      uint32   // 28
}

// metadataItems are the metadata items, in the order of the table.
type metadataItems struct {
	BlockSize          uint32   // 0: with the next field, the file parameters
	Flags              uint32   // 4: no parent; blocks may be deallocated
	DiskSize           uint64   // 8
	Page83             [16]byte // 16: identifies the disk to the guest
	LogicalSectorSize  uint32   // 32
	PhysicalSectorSize uint32   // 36
}

const (
	flagVirtualDisk = 1 << 1
	flagRequired    = 1 << 2
)

// GUIDs of regions and metadata items.
var (
	batRegion      = uuid.MustParse("2dc27766-f623-4200-9d64-115e9bfd4a08")
	metadataRegion = uuid.MustParse("8b7ca206-4790-4b9a-b8fe-575f050f886e")

	fileParameters     = uuid.MustParse("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
	virtualDiskSize    = uuid.MustParse("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
	page83Data         = uuid.MustParse("beca12ab-b2e6-4523-93ef-c309e000c746")
	logicalSectorSize  = uuid.MustParse("8141bf1d-a96f-4709-ba47-f233a8faab5f")
	physicalSectorSize = uuid.MustParse("cda348c7-445d-4471-9cc9-e9885251c556")
)

// physicalSector is the physical sector size of modern disks. Windows aligns its writes to it.
const physicalSector = 4 << 10

func newFileIdentifier() fileIdentifier {
	var f fileIdentifier
	copy(f.Signature[:], "vhdxfile")
	copy(f.Creator[:], utf16.Encode([]rune("vmdebootstrap")))
	return f
}

func newHeader(sequence uint64, id uuid.UUID) header {
	h := header{
		SequenceNumber: sequence,
		FileWriteID:    rawimage.GUID(uuid.NewSHA1(id, []byte("vhdx file"))),
		DataWriteID:    rawimage.GUID(uuid.NewSHA1(id, []byte("vhdx data"))),
		Version:        1,
		LogLength:      logSize,
		LogOffset:      logOffset,
	}
	copy(h.Signature[:], "head")
	h.Checksum = checksum(encode(h))
	return h
}

func newRegionTable(batSize int64) regionTable {
	t := regionTable{Count: 2, Entries: [2]region{
		{ID: rawimage.GUID(batRegion), Offset: batOffset, Length: uint32(batSize), Required: 1},
		{ID: rawimage.GUID(metadataRegion), Offset: metadataOffset, Length: metadataSize, Required: 1},
	}}
	copy(t.Signature[:], "regi")
	t.Checksum = checksum(encode(t))
	return t
}

func newMetadataTable() metadataTable {
	t := metadataTable{Count: 5}
	copy(t.Signature[:], "metadata")
	offset := uint32(itemsOffset)
	for i, item := range []struct {
		id            uuid.UUID
		length, flags uint32
	}{
		{fileParameters, 8, flagRequired},
		{virtualDiskSize, 8, flagRequired | flagVirtualDisk},
		{page83Data, 16, flagRequired | flagVirtualDisk},
		{logicalSectorSize, 4, flagRequired | flagVirtualDisk},
		{physicalSectorSize, 4, flagRequired | flagVirtualDisk},
	} {
		t.Entries[i] = metadataRecord{ID: rawimage.GUID(item.id), Offset: offset, Length: item.length,
			Flags: item.flags}
		offset += item.length
	}
	return t
}

func newMetadataItems(size int64, id uuid.UUID) metadataItems {
	return metadataItems{
		BlockSize:          blockSize,
		DiskSize:           uint64(size),
		Page83:             rawimage.GUID(id),
		LogicalSectorSize:  rawimage.SectorSize,
		PhysicalSectorSize: physicalSector,
	}
}

// checksum returns the CRC-32C of a structure whose checksum field is 0.
func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// encode returns the bytes of a structure.
func encode(v any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
		panic("BUG: encode vhdx structure: " + err.Error())
	}
	return b.Bytes()
}
