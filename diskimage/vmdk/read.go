// SPDX-License-Identifier: Apache-2.0

package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zlib"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// grainHeaderSize is the length of grainHeader.
const grainHeaderSize = 12

// Open returns the disk in an image of size bytes that is one file, streamOptimized or
// monolithicSparse. Not supported: parents, the other variants.
func Open(r io.ReaderAt, size int64) (*rawimage.Disk, error) {
	var h header
	if err := rawimage.ReadStruct(r, binary.LittleEndian, &h, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if h.GDOffset == gdAtEnd {
		const fromEnd = 2 * sectorSize // the marker of the end follows
		if err := rawimage.ReadStruct(r, binary.LittleEndian, &h, size-fromEnd); err != nil {
			return nil, fmt.Errorf("footer: %w", err)
		}
	}
	const limit = 1 << 50
	if h.Magic != magic || h.Version > version || h.NumGTEsPerGT == 0 || h.GrainSize == 0 || h.Capacity > limit ||
		h.GrainSize > limit || h.GDOffset > limit || h.DescriptorSize > descriptorSectors*sectorSize {
		return nil, errors.New("not a vmdk image in one file, or it is damaged")
	}
	text := make([]byte, h.DescriptorSize*sectorSize)
	if err := rawimage.ReadFull(r, text, int64(h.DescriptorOffset)*sectorSize); err != nil {
		return nil, fmt.Errorf("descriptor: %w", err)
	}
	if !strings.Contains(strings.ToLower(string(text)), "parentcid=ffffffff") {
		return nil, errors.New("the image needs another one, which is not supported")
	}
	x := reader{r, h}
	return rawimage.NewDisk(r, rawimage.DiskLayout{Size: int64(h.Capacity) * sectorSize,
		ClusterSize: int64(h.GrainSize) * sectorSize, Find: x.find, Decompress: decompress})
}

// reader finds grains.
type reader struct {
	io.ReaderAt
	header
}

// entry returns an entry of a table at a sector.
func (x reader) entry(sector uint64, index int64) (uint32, error) {
	var entry uint32
	err := rawimage.ReadStruct(x, binary.LittleEndian, &entry, int64(sector)*sectorSize+index*entrySize)
	return entry, err
}

// find implements rawimage.DiskLayout.
func (x reader) find(grain int64) (rawimage.Place, error) {
	const zeroGrain = 1 // an entry of an image with flagZeroGrain
	perTable := int64(x.NumGTEsPerGT)
	table, err := x.entry(x.GDOffset, grain/perTable)
	if err != nil || table == 0 {
		return rawimage.NoPlace, err
	}
	sector, err := x.entry(uint64(table), grain%perTable)
	if err != nil || sector == 0 || sector == zeroGrain {
		return rawimage.NoPlace, err
	}
	place := rawimage.Place{Offset: int64(sector) * sectorSize}
	if x.Flags&flagCompressed == 0 {
		return place, nil
	}
	var g grainHeader
	if err := rawimage.ReadStruct(x, binary.LittleEndian, &g, place.Offset); err != nil {
		return place, err
	}
	if g.Sector != uint64(grain)*x.GrainSize || g.Size == 0 {
		return place, errors.New("the grain is damaged")
	}
	return rawimage.Place{Offset: place.Offset + grainHeaderSize, Length: int64(g.Size)}, nil
}

// decompress implements rawimage.DiskLayout. The last grain of a disk may be shorter.
func decompress(grain, data []byte) error {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if _, err = io.ReadFull(z, grain); errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return errors.Join(err, z.Close())
}
