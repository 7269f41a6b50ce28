// SPDX-License-Identifier: Apache-2.0

// Package vdi writes and reads disk images for VirtualBox, in the dynamically allocated variant. The disk is
// divided into blocks of 1 MiB; blocks of zeros are not stored:
//
//	header | block map | blocks with data
//
// The format is that of VirtualBox (src/VBox/Storage/VDICore.h), version 1.1. The same disk and
// options always result in the same file.
//
// Not supported: writing images of fixed size, differencing images.
package vdi

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Options are the options of an image.
type Options struct {
	// ID identifies the disk; VirtualBox does not register two disks with the same ID. The default
	// is derived from the start of the disk.
	ID uuid.UUID
	// Workers is the number of goroutines that read; 0 means one per processor. It does not change
	// the output.
	Workers int
}

const (
	blockSize = 1 << 20
	entrySize = 4 // of the block map
	// maxBlocks limits the block map to 2 GiB and the disk to 512 TiB, as QEMU does (block/vdi.c:
	// VDI_BLOCKS_IN_IMAGE_MAX).
	maxBlocks = 0x1fffffff
	// dataAlignment aligns all blocks, so that file systems can share them and write them whole.
	dataAlignment = 1 << 20
)

const (
	signature   = 0xbeda107f
	version     = 1<<16 | 1
	typeDynamic = 1
	headerSize  = 400 // of the header from the field HeaderSize on
	headerText  = "<<< Oracle VM VirtualBox Disk Image >>>\n"
)

// header is the start of the file. All numbers are little-endian.
type header struct {
	Text               [64]byte  // 0
	Signature          uint32    // 64
	Version            uint32    // 68
	HeaderSize         uint32    // 72
	Type               uint32    // 76
	Flags              uint32    // 80
	Comment            [256]byte // 84
	BlocksOffset       uint32    // 340: of the block map
	DataOffset         uint32    // 344: of the first block
	Cylinders          uint32    // 348: geometry for old BIOSes, 0: none
	Heads              uint32    // 352
	Sectors            uint32    // 356
	SectorSize         uint32    // 360
	_                  uint32    // 364
	DiskSize           uint64    // 368: in bytes
	BlockSize          uint32    // 376
	BlockExtra         uint32    // 380: bytes before each block
	Blocks             uint32    // 384: of the disk
	BlocksAllocated    uint32    // 388
	ID                 [16]byte  // 392: this and what follows in the byte order of Microsoft
	ModificationID     [16]byte  // 408: changes with the content
	ParentID           [16]byte  // 424: none
	ParentModification [16]byte  // 440
	_                  [56]byte  // 456: geometry again, and padding
}

// Convert writes the raw disk image in src to dst, an empty file. The size of the disk is the
// length of src, rounded up to whole sectors of 512 bytes. The header is written last, so that
// after an error dst is not an image. Convert does not sync. It changes the offset of src, but not
// that of dst.
func Convert(ctx context.Context, dst, src *os.File, opts Options) error {
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	if opts.ID == uuid.Nil {
		if opts.ID, err = image.ID(); err != nil {
			return err
		}
	}
	count := rawimage.Blocks(image.Size(), blockSize)
	if count > maxBlocks {
		return fmt.Errorf("a disk of %d bytes is too large for vdi: the maximum is %d", image.Size(),
			int64(maxBlocks)*blockSize)
	}
	h := newHeader(image.Size(), count, opts.ID)
	blocks := bytes.Repeat([]byte{0xff}, int(count*entrySize)) // all unallocated
	copier, err := rawimage.NewCopier(image, dst)
	if err != nil {
		return err
	}
	end := int64(h.DataOffset)
	scan := rawimage.ScanOptions{ClusterSize: blockSize, Workers: opts.Workers}
	err = image.Scan(ctx, scan, func(run rawimage.Run) error {
		first := run.Offset / blockSize
		for i := range int64(len(run.Data)) / blockSize {
			binary.LittleEndian.PutUint32(blocks[(first+i)*entrySize:], h.BlocksAllocated)
			h.BlocksAllocated++
		}
		position := end
		end += int64(len(run.Data))
		return copier.Copy(run.Data, run.Offset, position)
	})
	if err != nil {
		return fmt.Errorf("write vdi blocks: %w", err)
	}
	if err := dst.Truncate(end); err != nil {
		return fmt.Errorf("set length of vdi file to %d: %w", end, err)
	}
	if _, err := dst.WriteAt(blocks, int64(h.BlocksOffset)); err != nil {
		return fmt.Errorf("write vdi block map: %w", err)
	}
	if _, err := dst.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("write vdi header: %w", err)
	}
	return nil
}

// newHeader returns the header of a disk without blocks.
func newHeader(size, blocks int64, id uuid.UUID) header {
	h := header{
		Signature:  signature,
		Version:    version,
		HeaderSize: headerSize,
		Type:       typeDynamic,
		SectorSize: rawimage.SectorSize,
		DiskSize:   uint64(size),
		BlockSize:  blockSize,
		Blocks:     uint32(blocks),
		ID:         rawimage.GUID(id),
		// It differs from ID, because it identifies a version of the disk, and it is not random.
		ModificationID: rawimage.GUID(uuid.NewSHA1(id, []byte("vdi"))),
	}
	copy(h.Text[:], headerText)
	h.BlocksOffset = uint32(binary.Size(h))
	h.DataOffset = uint32(rawimage.RoundUp(int64(h.BlocksOffset)+blocks*entrySize, dataAlignment))
	return h
}

func (h header) encode() []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		panic("BUG: encode vdi header: " + err.Error())
	}
	return b.Bytes()
}
