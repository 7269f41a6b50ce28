// SPDX-License-Identifier: Apache-2.0

// Package swap writes Linux swap areas, as mkswap(8) does.
//
// A swap area is one page: its header with the length, a UUID and a label. What follows is not initialised. Pages of
// 4096 bytes are supported, which is what all Debian architectures use by default; not supported are kernels with
// larger pages (64 KiB on some arm64 and ppc64el builds), whose swapon refuses the area, and lists of bad pages.
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

	versionAt  = 1024 // u32; before it is room for boot blocks
	lastPageAt = 1028 // u32, number of the last usable page
	uuidAt     = 1036 // 16 bytes, after the u32 number of bad pages, which is 0
	labelAt    = 1052 // 16 bytes
	magicAt    = pageSize - len(magic)

	labelLength = 16 // with a zero byte at the end
	// minPages is what mkswap(8) asks for at least.
	minPages = 10
)

// Formatter makes swap areas. The zero value is ready for use.
type Formatter struct{}

var (
	_ diskimage.Formatter = Formatter{}
	_ diskimage.UsedSpace = volume{}
)

// Plan implements diskimage.Formatter. The tree is not looked at and may be nil. Of the file system only UUID and Label
// (up to 15 bytes) matter. An area beyond 16 TiB is used up to there.
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
