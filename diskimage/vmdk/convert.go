// SPDX-License-Identifier: Apache-2.0

// Package vmdk writes and reads disk images for VMware, in the variant streamOptimized that OVF and OVA
// packages contain and that ovftool, ESXi, VirtualBox and QEMU can import. The disk is divided into
// grains of 64 KiB, each compressed separately; grains of zeros are not stored:
//
//	header | descriptor | grains, each grain table after its grains | grain directory | footer
//
// The file is written sequentially. The format is described in VMware's "Virtual Disk Format 5.0",
// section "Stream-Optimized Compressed Sparse Extents". Compressed images are for transport:
// hypervisors convert them to an image of their own.
//
// The same disk and options always result in the same file.
//
// Not supported: writing the other variants, reading those of several files (flat, split, ESX), parents,
// empty disks, files of more than 2 TiB.
package vmdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zlib"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Options are the options of an image.
type Options struct {
	// ID identifies the content of the disk. The default is derived from the start of the disk.
	ID uuid.UUID
	// Workers is the number of goroutines that read and compress; 0 means one per processor. It
	// does not change the output.
	Workers int
}

// Convert writes the raw disk image in src to dst. The size of the disk is the length of src,
// rounded up to whole sectors of 512 bytes. Convert changes the offset of src.
func Convert(ctx context.Context, dst io.Writer, src *os.File, opts Options) error {
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	if image.Size() == 0 {
		return errors.New("a vmdk file cannot hold a disk of 0 bytes")
	}
	if opts.ID == uuid.Nil {
		if opts.ID, err = image.ID(); err != nil {
			return err
		}
	}
	w := newWriter(dst, image.Size())
	if err := w.start(opts.ID); err != nil {
		return fmt.Errorf("write vmdk header: %w", err)
	}
	scan := rawimage.ScanOptions{ClusterSize: grainSize, Workers: opts.Workers, NewEncoder: newEncoder}
	if err := image.Scan(ctx, scan, w.add); err != nil {
		return fmt.Errorf("write vmdk grains: %w", err)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("write vmdk tables: %w", err)
	}
	return nil
}

// level is the compression level. A Debian system of 416 MiB, in seconds of processor time: level 1
// 3.1 s, 205 MiB; 4 4.8 s, 197 MiB; 6 6.4 s, 194 MiB; 7 12 s, 191 MiB.
const level = 4

// newEncoder returns a compressor to zlib streams.
func newEncoder() (rawimage.Encoder, error) {
	w, err := zlib.NewWriterLevel(nil, level)
	if err != nil {
		return nil, fmt.Errorf("set up deflate: %w", err)
	}
	return func(dst, grain []byte) ([]byte, error) {
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		if _, err := w.Write(grain); err != nil {
			return nil, fmt.Errorf("deflate: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("deflate: %w", err)
		}
		return out.Bytes(), nil
	}, nil
}

// bufferSize combines some twenty grains in one system call.
const bufferSize = 1 << 20

// writer is an image that is being written.
type writer struct {
	out      *bufio.Writer
	position int64 // in the file, in bytes; everything starts at a sector boundary
	capacity int64 // of the disk, in sectors
	// directory contains the sector of each grain table, or 0 if there is none.
	directory []uint32
	// table is the grain table of the last grain, and index its index in the directory.
	table [tableEntries]uint32
	index int64
}

func newWriter(dst io.Writer, size int64) *writer {
	return &writer{
		out:       bufio.NewWriterSize(dst, bufferSize),
		capacity:  size / sectorSize,
		directory: make([]uint32, rawimage.Blocks(size, grainSize*tableEntries)),
		index:     -1,
	}
}

// write appends the parts to the file, and zeros up to the next sector.
func (w *writer) write(parts ...[]byte) error {
	length := int64(0)
	for _, part := range parts {
		if _, err := w.out.Write(part); err != nil {
			return fmt.Errorf("at offset %d: %w", w.position, err)
		}
		length += int64(len(part))
	}
	w.position += length
	return w.pad(rawimage.RoundUp(w.position, sectorSize))
}

// pad appends zeros up to an offset.
func (w *writer) pad(end int64) error {
	if _, err := w.out.Write(make([]byte, end-w.position)); err != nil {
		return fmt.Errorf("at offset %d: %w", w.position, err)
	}
	w.position = end
	return nil
}

// sector returns the sector for the next part. Tables store it in 32 bits.
func (w *writer) sector() (uint32, error) {
	sector := w.position / sectorSize
	if sector > math.MaxUint32 {
		return 0, errors.New("the vmdk file would be larger than 2 TiB, the maximum of the format")
	}
	return uint32(sector), nil
}

// start writes everything before the first grain.
func (w *writer) start(id uuid.UUID) error {
	if err := w.write(encode(newHeader(uint64(w.capacity), gdAtEnd)), []byte(descriptor(w.capacity, id))); err != nil {
		return err
	}
	return w.pad(firstGrainSector * sectorSize)
}

// add writes the grains of a run.
func (w *writer) add(run rawimage.Run) error {
	for i, encoded := range run.Encoded {
		grain := run.Offset/grainSize + int64(i)
		if index := grain / tableEntries; index != w.index {
			if err := w.writeTable(); err != nil {
				return err
			}
			w.index = index
		}
		sector, err := w.sector()
		if err != nil {
			return err
		}
		w.table[grain%tableEntries] = sector
		h := grainHeader{Sector: uint64(grain) * grainSectors, Size: uint32(len(encoded))}
		if err := w.write(encode(h), encoded); err != nil {
			return err
		}
	}
	return nil
}

// writeTable writes the table of the last grains, if there are any, and starts a new one.
func (w *writer) writeTable() error {
	if w.index < 0 {
		return nil
	}
	sector, err := w.writeMarked(markerGrainTable, entries(w.table[:]))
	if err != nil {
		return err
	}
	w.directory[w.index] = sector
	clear(w.table[:])
	return nil
}

// finish writes everything after the last grain.
func (w *writer) finish() error {
	if err := w.writeTable(); err != nil {
		return err
	}
	directory, err := w.writeMarked(markerGrainDirectory, entries(w.directory))
	if err != nil {
		return err
	}
	if _, err := w.writeMarked(markerFooter, encode(newHeader(uint64(w.capacity), uint64(directory)))); err != nil {
		return err
	}
	if err := w.write(encode(marker{Type: markerEndOfStream})); err != nil {
		return err
	}
	return w.out.Flush()
}

// writeMarked writes a marker and the data after it, and returns the sector of the data.
func (w *writer) writeMarked(kind uint32, data []byte) (uint32, error) {
	m := marker{Sectors: uint64(rawimage.Blocks(int64(len(data)), sectorSize)), Type: kind}
	if err := w.write(encode(m)); err != nil {
		return 0, err
	}
	sector, err := w.sector()
	if err != nil {
		return 0, err
	}
	return sector, w.write(data)
}

// entries encodes a table.
func entries(table []uint32) []byte {
	b := make([]byte, 0, len(table)*entrySize)
	for _, entry := range table {
		b = binary.LittleEndian.AppendUint32(b, entry)
	}
	return b
}
