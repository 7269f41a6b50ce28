// SPDX-License-Identifier: Apache-2.0

// Package vhdx writes disk images for Hyper-V (both generations) and Windows, in the dynamic
// variant. The disk is divided into blocks of 1 MiB, as Microsoft recommends for Linux guests;
// blocks of zeros are not stored:
//
//	identifier, headers, region tables | log | metadata | block allocation table | blocks with data
//
// The log is empty. The format is described in "[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File
// Format". The same disk and options always result in the same file.
//
// Open reads images. Not supported: writing fixed size, logical sectors of 4 KiB, empty disks and
// disks of more than 64 TiB; differencing disks.
package vhdx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Options are the options of an image.
type Options struct {
	// ID identifies the disk, also to the guest. The default is derived from the start of the disk.
	ID uuid.UUID
	// Workers is the number of goroutines that read; 0 means one per processor. It does not change
	// the output.
	Workers int
}

// MaxSize is the maximum size of a disk in bytes.
const MaxSize = 64 << 40

const (
	blockSize = regionUnit
	entrySize = 8 // of the block allocation table
	// chunkRatio is the number of blocks after which the table has an entry for a sector bitmap.
	// Only differencing disks use the bitmaps, but all disks have the entries.
	chunkRatio = 1 << 23 * rawimage.SectorSize / blockSize

	// States of blocks, in the low bits of entries. The high bits are the offset in the file, a
	// multiple of 1 MiB.
	stateZero         = 2
	stateFullyPresent = 6
)

// Convert writes the raw disk image in src to dst, an empty file. The size of the disk is the
// length of src, rounded up to whole sectors of 512 bytes. The start of the file is written last,
// so that after an error dst is not an image. Convert does not sync. It changes the offset of src,
// but not that of dst.
func Convert(ctx context.Context, dst, src *os.File, opts Options) error {
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	if image.Size() == 0 {
		return errors.New("a vhdx file cannot hold a disk of 0 bytes")
	}
	if image.Size() > MaxSize {
		return fmt.Errorf("a disk of %d bytes is too large for vhdx: the maximum is %d", image.Size(), int64(MaxSize))
	}
	if opts.ID == uuid.Nil {
		if opts.ID, err = image.ID(); err != nil {
			return err
		}
	}
	blocks := newTable(rawimage.Blocks(image.Size(), blockSize))
	batSize := rawimage.RoundUp(int64(len(blocks))*entrySize, regionUnit)
	end := batOffset + batSize
	copier, err := rawimage.NewCopier(image, dst)
	if err != nil {
		return err
	}
	scan := rawimage.ScanOptions{ClusterSize: blockSize, Workers: opts.Workers}
	err = image.Scan(ctx, scan, func(run rawimage.Run) error {
		position := end
		end += int64(len(run.Data))
		for i := range int64(len(run.Data)) / blockSize {
			blocks[tableIndex(run.Offset/blockSize+i)] = uint64(position+i*blockSize) | stateFullyPresent
		}
		return copier.Copy(run.Data, run.Offset, position)
	})
	if err != nil {
		return fmt.Errorf("write vhdx blocks: %w", err)
	}
	if err := dst.Truncate(end); err != nil {
		return fmt.Errorf("set length of vhdx file to %d: %w", end, err)
	}
	return writeMetadata(dst, image.Size(), blocks, batSize, opts.ID)
}

// newTable returns a block allocation table of zero blocks. An entry for a bitmap follows each full
// chunk except the last one.
func newTable(blocks int64) []uint64 {
	table := make([]uint64, tableIndex(blocks-1)+1)
	for block := range blocks {
		table[tableIndex(block)] = stateZero
	}
	return table
}

// tableIndex returns the index of a block's entry in the table.
func tableIndex(block int64) int64 { return block + block/chunkRatio }

// writeMetadata writes everything except the blocks.
func writeMetadata(dst *os.File, size int64, table []uint64, batSize int64, id uuid.UUID) error {
	bat := make([]byte, 0, len(table)*entrySize)
	for _, entry := range table {
		bat = binary.LittleEndian.AppendUint64(bat, entry)
	}
	regions := encode(newRegionTable(batSize))
	for _, part := range []struct {
		what   string
		data   []byte
		offset int64
	}{
		{"block allocation table", bat, batOffset},
		{"metadata items", encode(newMetadataItems(size, id)), metadataOffset + itemsOffset},
		{"metadata table", encode(newMetadataTable()), metadataOffset},
		{"second region table", regions, region2Offset},
		{"region table", regions, regionOffset},
		{"second header", encode(newHeader(1, id)), header2Offset},
		{"header", encode(newHeader(0, id)), headerOffset},
		{"identifier", encode(newFileIdentifier()), identifierOffset},
	} {
		if _, err := dst.WriteAt(part.data, part.offset); err != nil {
			return fmt.Errorf("write vhdx %s: %w", part.what, err)
		}
	}
	return nil
}
