// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Range is a range of the disk.
type Range struct{ Offset, Length int64 }

// File is a disk that is written directly into an image file: a write at an offset of the disk goes
// to the offset of its cluster in the file. Several goroutines may use it concurrently, like an
// os.File, if no two write the same bytes. Bytes that were not written are zeros.
type File struct {
	w *writer
	// written has an element for each cluster of the file, including those without data of the
	// disk.
	written []atomic.Bool
}

// Destination is the file that an image is written to. *os.File implements it.
type Destination interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

// NewFile creates a disk of size bytes, a multiple of 512, in dst, an empty file. data are the
// ranges of the disk that may be written, sorted and not adjacent; NewFile allocates each cluster
// that they touch. Finish completes the file. opts must not request compression.
func NewFile(dst Destination, size int64, data []Range, opts Options) (*File, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if opts.Compression != None {
		return nil, fmt.Errorf("BUG: a qcow2 file that is written in any order cannot be compressed (%s)",
			opts.Compression)
	}
	if size < 0 || size%rawimage.SectorSize != 0 {
		return nil, fmt.Errorf("a disk of %d bytes does not consist of sectors of %d", size, rawimage.SectorSize)
	}
	if err := rawimage.CheckEmpty(dst); err != nil {
		return nil, err
	}
	w, err := newWriter(dst, size, opts)
	if err != nil {
		return nil, err
	}
	next := int64(0) // the first cluster that may still be unallocated
	for _, r := range data {
		if r.Offset < 0 || r.Length < 0 || r.Length > size-r.Offset {
			return nil, fmt.Errorf("BUG: %d bytes at offset %d are outside a disk of %d bytes", r.Length,
				r.Offset, size)
		}
		first, end := max(next, r.Offset/w.clusterSize), rawimage.Blocks(r.Offset+r.Length, w.clusterSize)
		if r.Length == 0 || first >= end {
			continue
		}
		position := w.space.clusters(end - first)
		for i := range end - first {
			w.point((first+i)*w.clusterSize, uint64(position+i*w.clusterSize)|flagCopied)
		}
		next = end
	}
	return &File{w: w, written: make([]atomic.Bool, len(w.space.refcounts))}, nil
}

// locate returns the offset in the file of an offset of the disk, and how many of the next length
// bytes are contiguous there. The position is 0 if they are in unallocated clusters.
func (f *File) locate(offset, length int64) (position, contiguous int64) {
	start := f.entry(offset)
	cluster := offset / f.w.clusterSize
	for end := (cluster + 1) * f.w.clusterSize; ; end += f.w.clusterSize {
		if end >= offset+length {
			contiguous = length
			break
		}
		following := f.entry(end)
		if start == 0 && following != 0 || start != 0 && following != start+end-cluster*f.w.clusterSize {
			contiguous = end - offset
			break
		}
	}
	if start == 0 {
		return 0, contiguous
	}
	return start + offset%f.w.clusterSize, contiguous
}

// entry returns the offset of a cluster in the file, or 0 if it is unallocated.
func (f *File) entry(offset int64) int64 {
	cluster := offset / f.w.clusterSize
	table := f.w.tables[cluster/f.w.tableEntries()]
	if table == nil {
		return 0
	}
	return int64(table[cluster%f.w.tableEntries()] &^ flagCopied)
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(b []byte, offset int64) (done int, err error) {
	if offset < 0 || int64(len(b)) > f.w.size-offset {
		return 0, fmt.Errorf("BUG: %d bytes at offset %d are outside a disk of %d bytes", len(b), offset, f.w.size)
	}
	for done < len(b) {
		position, length := f.locate(offset+int64(done), int64(len(b)-done))
		if position == 0 {
			return done, fmt.Errorf("BUG: %d bytes at offset %d of the disk were not planned", length,
				offset+int64(done))
		}
		n, err := f.w.dst.WriteAt(b[done:done+int(length)], position)
		if n > 0 {
			for cluster := position / f.w.clusterSize; cluster <= (position+int64(n)-1)/f.w.clusterSize; cluster++ {
				f.written[cluster].Store(true)
			}
		}
		if done += n; err != nil {
			return done, fmt.Errorf("write qcow2 clusters: %w", err)
		}
	}
	return done, nil
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, offset int64) (done int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("BUG: read at offset %d", offset)
	}
	wanted := int(max(0, min(int64(len(b)), f.w.size-offset)))
	for done < wanted {
		position, length := f.locate(offset+int64(done), int64(wanted-done))
		part := b[done : done+int(length)]
		n := 0
		if position != 0 {
			if n, err = f.w.dst.ReadAt(part, position); err != nil && !errors.Is(err, io.EOF) {
				return done + n, fmt.Errorf("read qcow2 clusters: %w", err)
			}
		}
		clear(part[n:]) // unallocated, or after the end of the file: not written yet
		done += len(part)
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}

// Truncate accepts only the length of the disk.
func (f *File) Truncate(size int64) error {
	if size != f.w.size {
		return fmt.Errorf("BUG: a qcow2 disk of %d bytes cannot become one of %d", f.w.size, size)
	}
	return nil
}

// Finish writes the tables and, last, the header, without which the file is not an image. Allocated
// clusters that were not written remain holes of the file and of the disk. Finish does not sync; no
// writes may follow.
func (f *File) Finish() error {
	for i, table := range f.w.tables {
		used := false
		for j, entry := range table {
			cluster := int64(entry&^flagCopied) / f.w.clusterSize
			if entry == 0 || f.written[cluster].Load() {
				used = used || entry != 0
				continue
			}
			table[j], f.w.space.refcounts[cluster] = 0, 0
		}
		if !used {
			f.w.tables[i] = nil
		}
	}
	if err := f.w.finish(); err != nil {
		return fmt.Errorf("write qcow2 tables: %w", err)
	}
	return nil
}
