// SPDX-License-Identifier: Apache-2.0

// Package vhd writes disk images for Virtual PC, Hyper-V (generation 1) and Azure. There are two variants:
//
//	Fixed:    the disk as it is | footer
//	Dynamic:  footer | header | block allocation table | blocks with data, each after its bitmap | footer
//
// A fixed disk is written as a sparse file; Azure accepts only this variant, and only with a size
// of whole MiB. A dynamic disk is divided into blocks of 2 MiB; blocks of zeros are not stored. The
// format is described in Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.
//
// The same disk and options always result in the same file.
//
// Open reads both variants. Not supported: differencing disks, disks of more than 2040 GiB.
package vhd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Options are the options of an image. The zero value is a dynamic disk.
type Options struct {
	// Fixed selects the variant with room for the whole disk.
	Fixed bool
	// ID identifies the disk. The default is derived from the start of the disk.
	ID uuid.UUID
	// Time is the creation time of the disk. The format supports the years 2000 to 2136; the zero
	// Time is stored as 2000.
	Time time.Time
	// Workers is the number of goroutines that read; 0 means one per processor. It does not change
	// the output.
	Workers int
}

// MaxSize is the maximum size of a disk in bytes.
const MaxSize = 2040 << 30

const (
	blockSize = 2 << 20
	// bitmapSize is the size of the bitmap before a block, with a bit for each sector.
	bitmapSize = blockSize / sectorSize / 8
	// blockAlignment of the blocks' data suits disks with sectors of 4 KiB, and file systems that
	// share blocks. The bitmap is directly before the data.
	blockAlignment = 4 << 10

	headerOffset = sectorSize
	tableOffset  = 3 * sectorSize
	entrySize    = 4 // of the block allocation table
)

// Convert writes the raw disk image in src to dst, an empty file. The size of the disk is the
// length of src, rounded up to whole sectors of 512 bytes. The footer is written last, so that
// after an error dst is not an image. Convert does not sync. It changes the offset of src, but not
// that of dst.
func Convert(ctx context.Context, dst, src *os.File, opts Options) error {
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	if image.Size() > MaxSize {
		return fmt.Errorf("a disk of %d bytes is too large for vhd: the maximum is %d", image.Size(), int64(MaxSize))
	}
	if image.Size() == 0 && opts.Fixed {
		// The footer would be at the offset of the copy in a dynamic disk.
		return errors.New("a fixed vhd file cannot hold a disk of 0 bytes")
	}
	if opts.ID == uuid.Nil {
		if opts.ID, err = image.ID(); err != nil {
			return err
		}
	}
	if opts.Fixed {
		return convertFixed(ctx, dst, image, opts)
	}
	return convertDynamic(ctx, dst, image, opts)
}

// fixedUnit is the granularity of the search for zeros in a fixed disk.
const fixedUnit = 64 << 10

func convertFixed(ctx context.Context, dst *os.File, image *rawimage.Image, opts Options) error {
	copier, err := rawimage.NewCopier(image, dst)
	if err != nil {
		return err
	}
	scan := rawimage.ScanOptions{ClusterSize: fixedUnit, Workers: opts.Workers}
	err = image.Scan(ctx, scan, func(run rawimage.Run) error {
		data := run.Data[:min(int64(len(run.Data)), image.Size()-run.Offset)] // the footer follows
		return copier.Copy(data, run.Offset, run.Offset)
	})
	if err != nil {
		return fmt.Errorf("write vhd data: %w", err)
	}
	f := newFooter(image.Size(), typeFixed, noOffset, opts)
	if _, err := dst.WriteAt(encode(f), image.Size()); err != nil {
		return fmt.Errorf("write vhd footer: %w", err)
	}
	return nil
}

func convertDynamic(ctx context.Context, dst *os.File, image *rawimage.Image, opts Options) error {
	blocks := rawimage.Blocks(image.Size(), blockSize)
	table := bytes.Repeat([]byte{0xff}, int(rawimage.RoundUp(blocks*entrySize, sectorSize))) // all unallocated
	bitmap := bytes.Repeat([]byte{0xff}, bitmapSize)                                         // all sectors in use
	end := tableOffset + int64(len(table))
	copier, err := rawimage.NewCopier(image, dst)
	if err != nil {
		return err
	}
	scan := rawimage.ScanOptions{ClusterSize: blockSize, Workers: opts.Workers}
	err = image.Scan(ctx, scan, func(run rawimage.Run) error {
		for first := 0; first < len(run.Data); first += blockSize {
			data := rawimage.RoundUp(end+bitmapSize, blockAlignment)
			if _, err := dst.WriteAt(bitmap, data-bitmapSize); err != nil {
				return fmt.Errorf("bitmap at offset %d: %w", data-bitmapSize, err)
			}
			offset := run.Offset + int64(first)
			if err := copier.Copy(run.Data[first:first+blockSize], offset, data); err != nil {
				return err
			}
			binary.BigEndian.PutUint32(table[offset/blockSize*entrySize:], uint32((data-bitmapSize)/sectorSize))
			end = data + blockSize
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write vhd blocks: %w", err)
	}
	f := encode(newFooter(image.Size(), typeDynamic, headerOffset, opts))
	for _, part := range []struct {
		what   string
		data   []byte
		offset int64
	}{
		{"block allocation table", table, tableOffset},
		{"header", encode(newDynamicHeader(blocks)), headerOffset},
		{"footer", f, end},
		{"copy of footer", f, 0},
	} {
		if _, err := dst.WriteAt(part.data, part.offset); err != nil {
			return fmt.Errorf("write vhd %s: %w", part.what, err)
		}
	}
	return nil
}
