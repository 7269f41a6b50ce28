// SPDX-License-Identifier: Apache-2.0

package rawimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Disk is the disk in an image file of another format. It is an io.ReaderAt that several goroutines
// may use at once if they may use the file.
type Disk struct {
	file   io.ReaderAt
	layout DiskLayout
	mutex  sync.Mutex
	cache  map[int64][]byte // decompressed clusters
	recent []int64          // their numbers, the oldest first
}

// DiskLayout says where the content of a disk is in a file.
type DiskLayout struct {
	Size, ClusterSize int64 // in bytes
	// Find returns the place of a cluster.
	Find func(cluster int64) (Place, error)
	// Decompress fills a cluster from compressed data, after which there may be other bytes.
	Decompress func(cluster, data []byte) error
}

// Place is where a cluster of a disk is in a file.
type Place struct {
	Offset int64
	Length int64 // of the compressed data; 0 if it is not compressed
}

// NoPlace stands for a cluster of zeros, which is not in the file.
var NoPlace = Place{Offset: -1}

const (
	// maxCluster limits clusters, and so the memory for them; VHDX has the largest, of 256 MiB.
	maxCluster = 256 << 20
	// cacheSize limits the decompressed clusters in memory, in bytes; there is always room for one.
	cacheSize = 4 << 20
)

// NewDisk returns the disk in a file.
func NewDisk(file io.ReaderAt, layout DiskLayout) (*Disk, error) {
	if layout.Size < 0 || layout.ClusterSize < SectorSize || layout.ClusterSize > maxCluster ||
		layout.ClusterSize&(layout.ClusterSize-1) != 0 {
		return nil, fmt.Errorf("a disk of %d bytes in clusters of %d bytes is not supported", layout.Size,
			layout.ClusterSize)
	}
	return &Disk{file: file, layout: layout, cache: map[int64][]byte{}}, nil
}

// Size returns the size of the disk in bytes.
func (d *Disk) Size() int64 { return d.layout.Size }

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	for n < len(p) {
		at := offset + int64(n)
		if at >= d.layout.Size {
			return n, io.EOF
		}
		cluster, within := at/d.layout.ClusterSize, at%d.layout.ClusterSize
		part := p[n:][:min(int64(len(p)-n), d.layout.ClusterSize-within, d.layout.Size-at)]
		if err := d.read(part, cluster, within); err != nil {
			return n, fmt.Errorf("cluster %d of the image: %w", cluster, err)
		}
		n += len(part)
	}
	return n, nil
}

// read reads a part of a cluster.
func (d *Disk) read(p []byte, cluster, within int64) error {
	place, err := d.layout.Find(cluster)
	switch {
	case err != nil:
		return err
	case place == NoPlace:
		clear(p)
		return nil
	case place.Length == 0:
		return ReadFull(d.file, p, place.Offset+within)
	}
	data, err := d.decompressed(cluster, place)
	if err == nil {
		copy(p, data[within:])
	}
	return err
}

// decompressed returns the content of a compressed cluster.
func (d *Disk) decompressed(cluster int64, place Place) ([]byte, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if data, ok := d.cache[cluster]; ok {
		return data, nil
	}
	if place.Length > 2*d.layout.ClusterSize {
		return nil, fmt.Errorf("%d bytes of compressed data are too many", place.Length)
	}
	compressed := make([]byte, place.Length)
	n, err := d.file.ReadAt(compressed, place.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	data := make([]byte, d.layout.ClusterSize)
	if err := d.layout.Decompress(data, compressed[:n]); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(d.recent) > 0 && int64(len(d.recent)) >= cacheSize/d.layout.ClusterSize {
		delete(d.cache, d.recent[0])
		d.recent = d.recent[1:]
	}
	d.cache[cluster], d.recent = data, append(d.recent, cluster)
	return data, nil
}

// ReadFull fills p from a file. The end of the file before that is an error.
func ReadFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(p), offset, err)
}

// ReadStruct reads a structure of fixed size from a file.
func ReadStruct(r io.ReaderAt, order binary.ByteOrder, v any, offset int64) error {
	raw := make([]byte, binary.Size(v))
	if err := ReadFull(r, raw, offset); err != nil {
		return err
	}
	return binary.Read(bytes.NewReader(raw), order, v)
}
