// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

const (
	// featureDirty is the incompatible feature bit of an image whose reference counts may be wrong,
	// which a reader does not need.
	featureDirty = 0
	// offsetMask is the part of an entry of the L1 and L2 tables that is an offset.
	offsetMask = 1<<56 - 1<<9
	// flagZero is set in L2 entries of clusters that are zeros, since version 3.
	flagZero = 1
)

// Open returns the disk in an image. Not supported: backing files, encryption, external data files,
// extended L2 entries. Snapshots are ignored.
func Open(r io.ReaderAt) (*rawimage.Disk, error) {
	var h header
	if err := rawimage.ReadStruct(r, binary.BigEndian, &h, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if h.Version == 2 {
		h.IncompatibleFeatures = 0
	}
	if h.IncompatibleFeatures&(1<<featureCompression) == 0 {
		h.CompressionType = compressionZlib
	}
	clusterSize := int64(1) << (h.ClusterBits & 63)
	switch {
	case h.Magic != magic || h.Version != 2 && h.Version != version:
		return nil, errors.New("not a qcow2 image of version 2 or 3")
	case h.BackingFileOffset != 0:
		return nil, errors.New("the image has a backing file, which is not supported")
	case h.CryptMethod != 0:
		return nil, errors.New("the image is encrypted, which is not supported")
	case h.IncompatibleFeatures&^(1<<featureCompression|1<<featureDirty) != 0 || h.CompressionType > compressionZstd:
		return nil, fmt.Errorf("features 0x%x with compression %d are not supported", h.IncompatibleFeatures,
			h.CompressionType)
	case clusterSize < MinClusterSize || clusterSize > MaxClusterSize || h.Size > 1<<62:
		return nil, errors.New("the header is damaged")
	}
	x := reader{r, h, clusterSize}
	layout := rawimage.DiskLayout{Size: int64(h.Size), ClusterSize: clusterSize, Find: x.find, Decompress: inflate}
	if h.CompressionType == compressionZstd {
		layout.Decompress = decompressZstd
	}
	return rawimage.NewDisk(r, layout)
}

// reader finds clusters.
type reader struct {
	io.ReaderAt
	header
	clusterSize int64
}

// entry returns an entry of a table.
func (x reader) entry(table uint64, index int64) (uint64, error) {
	b := make([]byte, entrySize)
	err := rawimage.ReadFull(x, b, int64(table)+index*entrySize)
	return binary.BigEndian.Uint64(b), err
}

// find implements rawimage.DiskLayout.
func (x reader) find(cluster int64) (rawimage.Place, error) {
	entries := x.clusterSize / entrySize
	first := cluster / entries
	if first >= int64(x.L1Size) {
		return rawimage.Place{}, errors.New("outside of the L1 table")
	}
	table, err := x.entry(x.L1TableOffset, first)
	if err != nil || table&offsetMask == 0 {
		return rawimage.NoPlace, err
	}
	e, err := x.entry(table&offsetMask, cluster%entries)
	switch {
	case err != nil:
		return rawimage.Place{}, err
	case e&flagCompressed != 0:
		const entryBits, sectorBits = 62, 8 // as in writer.compressedEntry
		bits := x.ClusterBits - sectorBits
		offset := int64(e & (1<<(entryBits-bits) - 1))
		sectors := int64(e >> (entryBits - bits) & (1<<bits - 1))
		return rawimage.Place{Offset: offset, Length: (sectors+1)*compressedSector - offset%compressedSector}, nil
	case e&offsetMask == 0 || x.Version >= version && e&flagZero != 0:
		return rawimage.NoPlace, nil
	}
	return rawimage.Place{Offset: int64(e & offsetMask)}, nil
}

// inflate implements rawimage.DiskLayout for raw deflate streams.
func inflate(cluster, data []byte) error {
	z := flate.NewReader(bytes.NewReader(data))
	_, err := io.ReadFull(z, cluster)
	return errors.Join(err, z.Close())
}

// decompressZstd implements rawimage.DiskLayout for zstd frames.
func decompressZstd(cluster, data []byte) error {
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = io.ReadFull(z, cluster)
	return err
}
