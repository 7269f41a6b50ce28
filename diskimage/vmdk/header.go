// SPDX-License-Identifier: Apache-2.0

package vmdk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

const (
	magic   = 'K' | 'D'<<8 | 'M'<<16 | 'V'<<24 // little-endian, as all numbers of the format
	version = 3

	flagNewLineTest = 1 << 0
	flagCompressed  = 1 << 16
	flagMarkers     = 1 << 17

	compressDeflate = 1

	// gdAtEnd replaces the offset of the grain directory in the header: the footer has that.
	gdAtEnd = 1<<64 - 1

	sectorSize   = rawimage.SectorSize
	grainSectors = 128
	grainSize    = grainSectors * sectorSize
	tableEntries = 512 // of a grain table
	entrySize    = 4

	descriptorSector  = 1
	descriptorSectors = 20
	firstGrainSector  = 128
)

// header is the first sector (SparseExtentHeader), and also the footer.
type header struct {
	Magic            uint32    // 0
	Version          uint32    // 4
	Flags            uint32    // 8
	Capacity         uint64    // 12: size of the disk; this and the following fields are in sectors
	GrainSize        uint64    // 20
	DescriptorOffset uint64    // 28
	DescriptorSize   uint64    // 36
	NumGTEsPerGT     uint32    // 44
	RGDOffset        uint64    // 48: redundant grain directory, 0
	GDOffset         uint64    // 56: grain directory
	OverHead         uint64    // 64: everything before the first grain
	UncleanShutdown  uint8     // 72
	NewLines         [4]byte   // 73: reveals damage by a transfer in text mode
	CompressionType  uint16    // 77
	_                [433]byte // 79
}

// Types of markers.
const (
	markerEndOfStream    = 0
	markerGrainTable     = 1
	markerGrainDirectory = 2
	markerFooter         = 3
)

// marker is a sector that describes the data after it.
type marker struct {
	Sectors uint64    // 0: length of the data
	Size    uint32    // 8: 0, to distinguish a marker from a grain
	Type    uint32    // 12
	_       [496]byte // 16
}

// grainHeader precedes the compressed data of a grain; both are padded to sectors.
type grainHeader struct {
	Sector uint64 // 0: of the grain on the disk
	Size   uint32 // 8: of the compressed data, in bytes
}

// newHeader returns the header or, with the sector of the grain directory, the footer.
func newHeader(capacity, directory uint64) header {
	return header{
		Magic:            magic,
		Version:          version,
		Flags:            flagNewLineTest | flagCompressed | flagMarkers,
		Capacity:         capacity,
		GrainSize:        grainSectors,
		DescriptorOffset: descriptorSector,
		DescriptorSize:   descriptorSectors,
		NumGTEsPerGT:     tableEntries,
		GDOffset:         directory,
		OverHead:         firstGrainSector,
		NewLines:         [4]byte{'\n', ' ', '\r', '\n'},
		CompressionType:  compressDeflate,
	}
}

// encode returns the bytes of a structure.
func encode(v any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
		panic("BUG: encode vmdk structure: " + err.Error())
	}
	return b.Bytes()
}

const (
	// The geometry of disks with a SCSI adapter; the number of cylinders is computed from the size.
	heads           = 255
	sectorsPerTrack = 63
	maxCylinders    = 65535
)

// descriptor returns the text that describes the disk. The content ID must not be that of "no
// parent", which is all ones.
func descriptor(capacity int64, id uuid.UUID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n",
		binary.BigEndian.Uint32(id[:4])&(1<<31-1))
	fmt.Fprintf(&b, "# Extent description\nRDONLY %d SPARSE \"generated-stream.vmdk\"\n\n", capacity)
	fmt.Fprint(&b, "# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"4\"\n")
	fmt.Fprintf(&b, "ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"%d\"\nddb.geometry.sectors = \"%d\"\n",
		min(maxCylinders, capacity/(heads*sectorsPerTrack)), heads, sectorsPerTrack)
	fmt.Fprintf(&b, "ddb.longContentID = \"%x\"\n", id[:])
	return b.String()
}
