// SPDX-License-Identifier: Apache-2.0

// Package qcow2 writes disk images in version 3 of the format of QEMU, also known as qcow2 with compat=1.1.
//
// There are two ways to one. Convert reads a raw image once, and can compress. A File takes the data itself, in any
// order and from several goroutines, as os.File does, if it is told beforehand where there will be any. Both make
//
//	header | clusters with data | L2 tables | L1 table | refcount table | refcount blocks
//
// The disk is divided into clusters. The L1 table, via L2 tables, says where in the file a cluster is; one that is all
// zeros is nowhere, and takes no room. Refcounts say how often each cluster of the file is used, as QEMU needs it to
// write to the image. The format is described in docs/interop/qcow2.rst of QEMU.
//
// The same disk and options give the same file, byte by byte, whatever the number of processors and whether zeros of
// the raw image are stored or holes, and whatever the order of writes to a File. This is why a File must know
// beforehand which clusters it will hold: each has its place before the first byte comes. It is also why a File does
// not compress: where a compressed cluster goes depends on the lengths of all before it, and the first ones of a file
// system are written last. To sort them afterwards is to copy them, which is what Convert does with a raw image, whose
// pages are in memory still.
//
// The memory needed is 10 bytes for each cluster with data, which is 160 MiB per TiB, and a few MiB for each worker.
//
// Not supported: reading, version 2, backing files, snapshots, encryption, external data files, extended L2 entries,
// dirty bitmaps.
package qcow2

import (
	"context"
	"fmt"
	"os"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Convert writes the raw disk image in src to dst, an empty file. The size of the disk is the length of src, rounded up
// to whole sectors of 512 bytes. The header is written last: what an error has left in dst is not an image. Convert
// does not sync. The offset of src is changed, that of dst not.
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

// writer is a file while it is written.
type writer struct {
	dst         Destination
	copier      *rawimage.Copier // of Convert
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
		return nil, fmt.Errorf("a disk of %d bytes is too large for qcow2 with clusters of %d bytes: at most %d",
			w.size, w.clusterSize, maxL1Size/entrySize*w.clusterSize*w.tableEntries())
	}
	w.tables = make([][]uint64, entries)
	return w, nil
}

// tableEntries is the number of entries of a table that fills a cluster.
func (w *writer) tableEntries() int64 { return w.clusterSize / entrySize }

// add writes the clusters of a run and notes where they are.
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

// store writes whole clusters from one offset of the disk on as they are.
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

// compressedEntry is the L2 entry for compressed data: its offset in the low bits, above it the number of sectors it
// touches beside its first. The larger the clusters, the more bits the number takes.
func (w *writer) compressedEntry(position, length int64) uint64 {
	const entryBits, sectorBits = 62, 8 // a cluster of 2^n bytes: n - 8 bits
	sectors := (position+length-1)/compressedSector - position/compressedSector
	shift := entryBits - (clusterBits(w.clusterSize) - sectorBits)
	return flagCompressed | uint64(sectors)<<shift | uint64(position)
}
