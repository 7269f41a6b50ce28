// SPDX-License-Identifier: Apache-2.0

package vdi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

const (
	typeFixed = 2
	// firstUnstored is the lowest entry of the block map that stands for zeros (VDI_IMAGE_BLOCK_ZERO).
	firstUnstored = 0xfffffffe
)

// Open returns the disk in an image, dynamic or of fixed size. Not supported: differencing images.
func Open(r io.ReaderAt) (*rawimage.Disk, error) {
	var h header
	if err := rawimage.ReadStruct(r, binary.LittleEndian, &h, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	switch {
	case h.Signature != signature || h.Version != version:
		return nil, errors.New("not a vdi image of version 1.1")
	case h.Type != typeDynamic && h.Type != typeFixed || uuid.UUID(h.ParentID) != uuid.Nil:
		return nil, errors.New("the image needs another one, which is not supported")
	case h.DiskSize > 1<<62:
		return nil, errors.New("the header is damaged")
	}
	find := func(cluster int64) (rawimage.Place, error) {
		if cluster >= int64(h.Blocks) {
			return rawimage.Place{}, errors.New("outside of the block map")
		}
		b := make([]byte, entrySize)
		if err := rawimage.ReadFull(r, b, int64(h.BlocksOffset)+cluster*entrySize); err != nil {
			return rawimage.Place{}, err
		}
		entry := binary.LittleEndian.Uint32(b)
		if entry >= firstUnstored {
			return rawimage.NoPlace, nil
		}
		stored := int64(h.BlockSize) + int64(h.BlockExtra)
		return rawimage.Place{Offset: int64(h.DataOffset) + int64(entry)*stored + int64(h.BlockExtra)}, nil
	}
	return rawimage.NewDisk(r, rawimage.DiskLayout{Size: int64(h.DiskSize), ClusterSize: int64(h.BlockSize), Find: find})
}
