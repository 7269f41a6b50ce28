// SPDX-License-Identifier: Apache-2.0

package vhd

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

const (
	sectorSize = rawimage.SectorSize

	featuresReserved = 2 // a bit that is always set
	version          = 1 << 16

	cookie        = "conectix"
	dynamicCookie = "cxsparse"

	typeFixed   = 2
	typeDynamic = 3

	// noOffset means that nothing follows.
	noOffset = 1<<64 - 1

	// creator is that of QEMU, because readers use it to decide between the size and the geometry.
	// "qem2" selects the size in QEMU; Hyper-V and Azure always use the size.
	creator        = "qem2"
	creatorVersion = 5<<16 | 3
	creatorHost    = "Wi2k"
)

// footer is the last sector of the file, and also the first one of a dynamic disk. All numbers are
// big-endian.
type footer struct {
	Cookie         [8]byte   // 0
	Features       uint32    // 8
	Version        uint32    // 12
	DataOffset     uint64    // 16: of the dynamic header
	Timestamp      uint32    // 24: seconds since 2000
	Creator        [4]byte   // 28
	CreatorVersion uint32    // 32
	CreatorHost    [4]byte   // 36
	OriginalSize   uint64    // 40: of the disk, in bytes
	CurrentSize    uint64    // 48
	Geometry       geometry  // 56
	Type           uint32    // 60
	Checksum       uint32    // 64
	ID             [16]byte  // 68
	SavedState     uint8     // 84
	_              [427]byte // 85
}

// geometry is the geometry of an ATA disk.
type geometry struct {
	Cylinders uint16 // 0
	Heads     uint8  // 2
	Sectors   uint8  // 3: per track
}

// dynamicHeader follows the copy of the footer at the start of a dynamic disk.
type dynamicHeader struct {
	Cookie          [8]byte   // 0
	DataOffset      uint64    // 8: unused
	TableOffset     uint64    // 16: of the block allocation table
	Version         uint32    // 24
	MaxTableEntries uint32    // 28
	BlockSize       uint32    // 32
	Checksum        uint32    // 36
	ParentID        [16]byte  // 40: this and what follows is for differencing disks
	ParentTimestamp uint32    // 56
	_               uint32    // 60
	ParentName      [512]byte // 64
	ParentLocators  [192]byte // 576
	_               [256]byte // 768
}

// newFooter returns the footer of a disk.
func newFooter(size int64, kind uint32, dataOffset uint64, opts Options) footer {
	f := footer{
		Features:       featuresReserved,
		Version:        version,
		DataOffset:     dataOffset,
		Timestamp:      timestamp(opts.Time),
		CreatorVersion: creatorVersion,
		OriginalSize:   uint64(size),
		CurrentSize:    uint64(size),
		Geometry:       newGeometry(size / sectorSize),
		Type:           kind,
		ID:             opts.ID,
	}
	copy(f.Cookie[:], cookie)
	copy(f.Creator[:], creator)
	copy(f.CreatorHost[:], creatorHost)
	f.Checksum = checksum(encode(f))
	return f
}

// newDynamicHeader returns the header of a disk with a number of blocks.
func newDynamicHeader(blocks int64) dynamicHeader {
	h := dynamicHeader{
		DataOffset:      noOffset,
		TableOffset:     tableOffset,
		Version:         version,
		MaxTableEntries: uint32(blocks),
		BlockSize:       blockSize,
	}
	copy(h.Cookie[:], dynamicCookie)
	h.Checksum = checksum(encode(h))
	return h
}

// timestamp returns the seconds since 2000, limited to the range of the field.
func timestamp(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	epoch := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	return uint32(min(max(t.Unix()-epoch.Unix(), 0), math.MaxUint32))
}

// newGeometry implements the appendix "CHS Calculation" of the specification.
func newGeometry(sectors int64) geometry {
	const maxCylinders, maxHeads, maxSectors = 65535, 16, 255
	sectors = min(sectors, maxCylinders*maxHeads*maxSectors)
	perTrack, heads := int64(maxSectors), int64(maxHeads)
	if sectors < maxCylinders*maxHeads*63 {
		perTrack = 17
		heads = max(4, (sectors/perTrack+1023)/1024)
		if sectors/perTrack >= heads*1024 || heads > maxHeads {
			perTrack, heads = 31, maxHeads
		}
		if sectors/perTrack >= heads*1024 {
			perTrack, heads = 63, maxHeads
		}
	}
	return geometry{Cylinders: uint16(sectors / perTrack / heads), Heads: uint8(heads), Sectors: uint8(perTrack)}
}

// checksum returns the checksum of a structure whose checksum field is 0: the inverted sum of its
// bytes.
func checksum(b []byte) uint32 {
	sum := uint32(0)
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

// encode returns the bytes of a structure.
func encode(v any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.BigEndian, v); err != nil {
		panic("BUG: encode vhd structure: " + err.Error())
	}
	return b.Bytes()
}
