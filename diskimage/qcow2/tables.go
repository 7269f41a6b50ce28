// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// finish writes everything but the clusters of the disk: the tables after them, and the header
// last.
func (w *writer) finish() error {
	l1 := make([]uint64, len(w.tables))
	for i, table := range w.tables {
		if table == nil {
			continue
		}
		offset := w.space.clusters(1)
		l1[i] = uint64(offset) | flagCopied
		if err := w.writeTable("L2 table", table, offset); err != nil {
			return err
		}
	}
	l1Offset := w.space.clusters(rawimage.Blocks(int64(len(l1)), w.tableEntries()))
	if err := w.writeTable("L1 table", l1, l1Offset); err != nil {
		return err
	}
	tableOffset, tableClusters, err := w.writeRefcounts()
	if err != nil {
		return err
	}
	if err := w.dst.Truncate(w.space.end); err != nil {
		return fmt.Errorf("set length to %d: %w", w.space.end, err)
	}
	h := header{
		Magic:                 magic,
		Version:               version,
		ClusterBits:           uint32(clusterBits(w.clusterSize)),
		Size:                  uint64(w.size),
		L1Size:                uint32(len(l1)),
		L1TableOffset:         uint64(l1Offset),
		RefcountTableOffset:   uint64(tableOffset),
		RefcountTableClusters: uint32(tableClusters),
		RefcountOrder:         refcountOrder,
		HeaderLength:          headerLength,
		CompressionType:       compressionZlib,
	}
	if w.compression == Zstd {
		h.CompressionType = compressionZstd
		h.IncompatibleFeatures = 1 << featureCompression
	}
	if _, err := w.dst.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	return nil
}

// writeRefcounts writes the refcount table and the refcount blocks, which include their own
// reference counts.
func (w *writer) writeRefcounts() (offset, clusters int64, err error) {
	perBlock := w.clusterSize / refcountSize
	blocks := int64(0)
	for {
		// More blocks may need a longer table, and both may need more blocks.
		clusters = rawimage.Blocks(max(blocks, 1), w.tableEntries())
		needed := rawimage.Blocks(int64(len(w.space.refcounts))+clusters+blocks, perBlock)
		if needed == blocks {
			break
		}
		blocks = needed
	}
	if clusters*w.clusterSize > max(maxRefcountTableSize, w.clusterSize) {
		return 0, 0, fmt.Errorf("too much data for clusters of %d bytes", w.clusterSize)
	}
	offset = w.space.clusters(clusters)
	first := w.space.clusters(blocks)
	table := make([]uint64, blocks)
	for i := range table {
		table[i] = uint64(first + int64(i)*w.clusterSize)
	}
	if err := w.writeTable("refcount table", table, offset); err != nil {
		return 0, 0, err
	}
	counts := w.space.refcounts
	for i := range blocks {
		block := make([]byte, 0, w.clusterSize)
		for _, count := range counts[i*perBlock : min((i+1)*perBlock, int64(len(counts)))] {
			block = binary.BigEndian.AppendUint16(block, count)
		}
		if _, err := w.dst.WriteAt(block, first+i*w.clusterSize); err != nil {
			return 0, 0, fmt.Errorf("write refcount block: %w", err)
		}
	}
	return offset, clusters, nil
}

// writeTable writes a table of 64-bit entries.
func (w *writer) writeTable(what string, table []uint64, offset int64) error {
	b := make([]byte, 0, len(table)*entrySize)
	for _, entry := range table {
		b = binary.BigEndian.AppendUint64(b, entry)
	}
	if _, err := w.dst.WriteAt(b, offset); err != nil {
		return fmt.Errorf("write %s at offset %d: %w", what, offset, err)
	}
	return nil
}
