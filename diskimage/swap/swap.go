// SPDX-License-Identifier: Apache-2.0

// Package swap writes Linux swap areas, as mkswap(8) does.
//
// A swap area starts with a page that is its header, with the length, a UUID and a label. The rest
// is not initialised. Pages of 4096 bytes are supported, which all Debian architectures use by
// default. Not supported are lists of bad pages, and kernels with larger pages (64 KiB in some
// arm64 and ppc64el builds), whose swapon rejects the area.
package swap

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// The header: union swap_header in Linux include/linux/swap.h, version 1.
const (
	pageSize = 4096
	magic    = "SWAPSPACE2"

	versionAt  = 1024 // u32; preceded by room for boot blocks
	lastPageAt = 1028 // u32, number of the last usable page
	uuidAt     = 1036 // 16 bytes, after the u32 number of bad pages, which is 0
	labelAt    = 1052 // 16 bytes
	magicAt    = pageSize - len(magic)

	labelLength = 16 // with a zero byte at the end
	// minPages is the minimum of mkswap(8).
	minPages = 10
)

// Formatter plans swap areas. The zero value is ready for use.
type Formatter struct{}

var (
	_ diskimage.Formatter = Formatter{}
	_ diskimage.UsedSpace = volume{}
)

// Plan implements diskimage.Formatter. It ignores the tree, which may be nil. It uses only UUID and
// Label (up to 15 bytes) of the file system. Only the first 16 TiB of an area are used.
func (Formatter) Plan(size diskimage.Size, f diskimage.Filesystem, _ diskimage.Tree) (diskimage.Volume, error) {
	pages := uint64(size / pageSize)
	if pages < minPages {
		return nil, &diskimage.NoSpaceError{What: "pages", Needed: minPages, Available: pages, BlockSize: pageSize}
	}
	if len(f.Label) >= labelLength {
		return nil, fmt.Errorf("swap label %q is %d bytes long; a swap area holds %d", f.Label, len(f.Label),
			labelLength-1)
	}
	return volume{lastPage: uint32(min(pages-1, math.MaxUint32)), id: f.UUID, label: f.Label}, nil
}

// volume is a planned swap area.
type volume struct {
	lastPage uint32
	id       uuid.UUID
	label    string
}

// Write implements diskimage.Volume.
func (v volume) Write(ctx context.Context, dst io.WriterAt) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	page := make([]byte, pageSize)
	binary.LittleEndian.PutUint32(page[versionAt:], 1)
	binary.LittleEndian.PutUint32(page[lastPageAt:], v.lastPage)
	copy(page[uuidAt:], v.id[:])
	copy(page[labelAt:], v.label)
	copy(page[magicAt:], magic)
	if _, err := dst.WriteAt(page, 0); err != nil {
		return fmt.Errorf("write swap header: %w", err)
	}
	return nil
}

// Used implements diskimage.UsedSpace: the header.
func (volume) Used() []diskimage.Extent { return []diskimage.Extent{{Length: pageSize}} }

// Zeros implements diskimage.UsedSpace.
func (volume) Zeros() []diskimage.Extent { return nil }

// Extents implements diskimage.Volume: there are no files.
func (volume) Extents(name string) ([]diskimage.Extent, error) {
	return nil, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
}
