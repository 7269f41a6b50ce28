// SPDX-License-Identifier: Apache-2.0

// Package qcow2 writes disk images in version 3 of QEMU's format, also known as qcow2 with
// compat=1.1.
//
// There are two ways to write one. Convert reads a raw image once, and can compress. A File accepts
// the data itself, in any order and from several goroutines like os.File, if the ranges are known
// in advance. Both write:
//
//	header | clusters with data | L2 tables | L1 table | refcount table | refcount blocks
//
// The disk is divided into clusters. The L1 table and L2 tables map each cluster to its offset in
// the file; clusters of zeros are unallocated. Reference counts record how often each cluster of
// the file is used, which QEMU needs to write to the image. The format is described in
// docs/interop/qcow2.rst of QEMU.
//
// The same disk and options always result in the same file, whatever the number of processors,
// whether zeros of the raw image are stored or holes, and whatever the order of writes to a File.
// That is why a File must know in advance which clusters it will hold: their offsets are fixed
// before the first write. It is also why a File cannot compress: the offset of a compressed cluster
// depends on the lengths of all clusters before it, and the first clusters of a file system are
// written last. Sorting them afterwards would mean copying them, which is what Convert does with a
// raw image whose pages are still in memory.
//
// It needs 10 bytes of memory for each cluster with data, which is 160 MiB per TiB, and a few MiB
// for each worker.
//
// Open reads images. Not supported: writing version 2, backing files, snapshots, encryption, external data files,
// extended L2 entries, dirty bitmaps.
package qcow2

import (
	"context"
	"fmt"
	"os"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Convert writes the raw disk image in src to dst, an empty file. The size of the disk is the
// length of src, rounded up to whole sectors of 512 bytes. The header is written last, so that
// after an error dst is not an image. Convert does not sync. It changes the offset of src, but not
// that of dst.
func Convert(ctx context.Context, dst, src *os.File, opts Options) error {
	opts, err := opts.complete()
	if err != nil {
		return err
	}
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	w, err := newWriter(dst, image.Size(), opts)
	if err != nil {
		return err
	}
	if w.copier, err = rawimage.NewCopier(image, dst); err != nil {
		return err
	}
	scan := rawimage.ScanOptions{ClusterSize: opts.ClusterSize, Workers: opts.Workers, NewEncoder: opts.newEncoder()}
	if err := image.Scan(ctx, scan, w.add); err != nil {
		return fmt.Errorf("write qcow2 clusters: %w", err)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("write qcow2 tables: %w", err)
	}
	return nil
}

// writer is an image that is being written.
type writer struct {
	dst         Destination
	copier      *rawimage.Copier // used by Convert
	size        int64
	clusterSize int64
	compression Compression
	space       allocator
	// tables has the L2 tables by their index in the L1 table; nil where nothing is allocated.
	tables [][]uint64
}

func newWriter(dst Destination, size int64, opts Options) (*writer, error) {
	w := &writer{
		dst:         dst,
		size:        size,
		clusterSize: int64(opts.ClusterSize),
		compression: opts.Compression,
		space:       newAllocator(int64(opts.ClusterSize)),
	}
	entries := rawimage.Blocks(w.size, w.clusterSize*w.tableEntries())
	if entries*entrySize > maxL1Size {
		return nil, fmt.Errorf("a disk of %d bytes is too large for qcow2 with clusters of %d bytes: the maximum is %d",
			w.size, w.clusterSize, maxL1Size/entrySize*w.clusterSize*w.tableEntries())
	}
	w.tables = make([][]uint64, entries)
	return w, nil
}

// tableEntries returns the number of entries in a table of one cluster.
func (w *writer) tableEntries() int64 { return w.clusterSize / entrySize }

// add writes the clusters of a run and records their offsets.
func (w *writer) add(run rawimage.Run) error {
	if w.compression == None {
		return w.store(run.Data, run.Offset)
	}
	for i, encoded := range run.Encoded {
		first := int64(i) * w.clusterSize
		offset := run.Offset + first
		if int64(len(encoded)) >= w.clusterSize {
			if err := w.store(run.Data[first:first+w.clusterSize], offset); err != nil {
				return err
			}
			continue
		}
		position := w.space.bytes(int64(len(encoded)))
		if _, err := w.dst.WriteAt(encoded, position); err != nil {
			return fmt.Errorf("write %d compressed bytes at offset %d: %w", len(encoded), position, err)
		}
		w.point(offset, w.compressedEntry(position, int64(len(encoded))))
	}
	return nil
}

// store writes whole uncompressed clusters that start at an offset of the disk.
func (w *writer) store(data []byte, offset int64) error {
	count := int64(len(data)) / w.clusterSize
	position := w.space.clusters(count)
	for i := range count {
		w.point(offset+i*w.clusterSize, uint64(position+i*w.clusterSize)|flagCopied)
	}
	return w.copier.Copy(data, offset, position)
}

// point sets the L2 entry of the cluster at an offset of the disk.
func (w *writer) point(offset int64, entry uint64) {
	cluster := offset / w.clusterSize
	table := &w.tables[cluster/w.tableEntries()]
	if *table == nil {
		*table = make([]uint64, w.tableEntries())
	}
	(*table)[cluster%w.tableEntries()] = entry
}

// compressedEntry returns the L2 entry of compressed data: its offset in the low bits, above it the
// number of additional sectors that it touches. The larger the clusters, the more bits that number
// has.
func (w *writer) compressedEntry(position, length int64) uint64 {
	const entryBits, sectorBits = 62, 8 // a cluster of 2^n bytes: n - 8 bits
	sectors := (position+length-1)/compressedSector - position/compressedSector
	shift := entryBits - (clusterBits(w.clusterSize) - sectorBits)
	return flagCompressed | uint64(sectors)<<shift | uint64(position)
}
