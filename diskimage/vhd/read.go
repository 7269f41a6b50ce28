// SPDX-License-Identifier: Apache-2.0

package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// ErrNoFooter is returned by Open for a file without the footer of the format.
var ErrNoFooter = errors.New("not a vhd image: it has no footer")

// Open returns the disk in an image of size bytes, dynamic or fixed. Not supported: differencing images.
func Open(r io.ReaderAt, size int64) (*rawimage.Disk, error) {
	var f footer
	if size < sectorSize {
		return nil, ErrNoFooter
	}
	if err := rawimage.ReadStruct(r, binary.BigEndian, &f, size-sectorSize); err != nil {
		return nil, fmt.Errorf("footer: %w", err)
	}
	if string(f.Cookie[:]) != cookie {
		return nil, ErrNoFooter
	}
	sum := f.Checksum
	if f.Checksum = 0; checksum(encode(f)) != sum || f.CurrentSize > MaxSize {
		return nil, errors.New("the footer is damaged")
	}
	layout := rawimage.DiskLayout{Size: int64(f.CurrentSize), ClusterSize: fixedUnit}
	if f.Type == typeFixed {
		if int64(f.CurrentSize) > size-sectorSize {
			return nil, fmt.Errorf("the image ends before its disk: %w", io.ErrUnexpectedEOF)
		}
		layout.Find = func(cluster int64) (rawimage.Place, error) {
			return rawimage.Place{Offset: cluster * fixedUnit}, nil
		}
		return rawimage.NewDisk(r, layout)
	}
	if f.Type != typeDynamic {
		return nil, fmt.Errorf("vhd images of type %d are not supported", f.Type)
	}
	var h dynamicHeader
	if err := rawimage.ReadStruct(r, binary.BigEndian, &h, int64(f.DataOffset)); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	sum = h.Checksum
	if h.Checksum = 0; string(h.Cookie[:]) != dynamicCookie || checksum(encode(h)) != sum {
		return nil, errors.New("the header is damaged")
	}
	layout.ClusterSize = int64(h.BlockSize)
	layout.Find = func(cluster int64) (rawimage.Place, error) {
		if cluster >= int64(h.MaxTableEntries) {
			return rawimage.Place{}, errors.New("outside of the block allocation table")
		}
		b := make([]byte, entrySize)
		if err := rawimage.ReadFull(r, b, int64(h.TableOffset)+cluster*entrySize); err != nil {
			return rawimage.Place{}, err
		}
		sector := binary.BigEndian.Uint32(b)
		if sector == math.MaxUint32 {
			return rawimage.NoPlace, nil
		}
		bitmap := rawimage.RoundUp(int64(h.BlockSize)/sectorSize/8, sectorSize)
		return rawimage.Place{Offset: int64(sector)*sectorSize + bitmap}, nil
	}
	return rawimage.NewDisk(r, layout)
}
