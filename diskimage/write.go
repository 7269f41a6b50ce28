// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// RawFile is the destination of an image: a file that is empty, or all of whose bytes are zero.
// *os.File implements it.
type RawFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Image describes the whole content of a disk.
type Image struct {
	Layout Layout
	// Volumes holds the planned file systems by partition number. A partition without one stays empty.
	Volumes map[int]Volume
	// Blobs are bytes outside the table and partitions, such as the firmware that a board's
	// processor loads from a fixed offset.
	Blobs []Patch
	// Patches are written last, in this order. They may be inside partitions.
	Patches []Patch
}

// Patch is bytes that do not belong to a file system: boot code, or a boot loader's data about
// itself inside its own files.
type Patch struct {
	Offset int64 // from the start of the disk
	Data   []byte
	What   string // names it in errors: "GRUB core.img"
}

// claim returns the range of the patch.
func (p Patch) claim() Claim {
	return Claim{Extent{Offset: p.Offset, Length: int64(len(p.Data))}, p.What}
}

// Write writes the image: it sets the length of w without allocating it, then writes the partition
// table, the file systems in the order of their partitions on the disk, blobs and patches. It
// checks the whole image before it writes anything. It leaves out zeros, so that a sparse file
// stays sparse, and does not sync.
func (m Image) Write(ctx context.Context, w RawFile) error {
	if err := m.check(); err != nil {
		return err
	}
	if err := w.Truncate(int64(m.Layout.Size)); err != nil {
		return fmt.Errorf("set length of image to %s: %w", m.Layout.Size, err)
	}
	if err := WriteTable(w, m.Layout); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	partitions := slices.Clone(m.Layout.Partitions)
	slices.SortFunc(partitions, func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	for _, p := range partitions {
		volume, ok := m.Volumes[p.Number]
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := volume.Write(ctx, section{w: w, start: int64(p.Start), size: int64(p.Size)}); err != nil {
			return fmt.Errorf("write %s: %w", p, err)
		}
	}
	for _, p := range slices.Concat(m.Blobs, m.Patches) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.WriteAt(p.Data, p.Offset); err != nil {
			return fmt.Errorf("write %s at offset %d: %w", p.What, p.Offset, err)
		}
	}
	return nil
}

// Used returns the ranges of the disk that must be as Write leaves them, including zeros, sorted
// and not adjacent: the partition table, blobs, patches, and what volumes use. Everything else is
// free space, and so are partitions without a volume.
func (m Image) Used() []Extent {
	used := m.Layout.tableExtents()
	for _, p := range slices.Concat(m.Blobs, m.Patches) {
		used = append(used, p.claim().Extent)
	}
	for _, p := range m.Layout.Partitions {
		switch volume := m.Volumes[p.Number].(type) {
		case nil:
		case UsedSpace:
			for _, e := range volume.Used() {
				used = append(used, Extent{int64(p.Start) + e.Offset, e.Length})
			}
		default:
			used = append(used, Extent{int64(p.Start), int64(p.Size)})
		}
	}
	return merge(used)
}

// Data returns the ranges of the disk outside which Write writes nothing, sorted and not adjacent.
// known is false if a volume does not implement UsedSpace.
func (m Image) Data() (parts []Extent, known bool) {
	parts = m.Layout.tableExtents()
	for _, p := range slices.Concat(m.Blobs, m.Patches) {
		parts = append(parts, p.claim().Extent)
	}
	for _, p := range m.Layout.Partitions {
		volume, ok := m.Volumes[p.Number]
		if !ok {
			continue
		}
		data, known := VolumeData(volume)
		if !known {
			return nil, false
		}
		for _, e := range data {
			parts = append(parts, Extent{int64(p.Start) + e.Offset, e.Length})
		}
	}
	return merge(parts), true
}

// VolumeData returns the ranges of a partition outside which Volume.Write writes nothing, sorted
// and not adjacent. known is false if the volume does not implement UsedSpace.
func VolumeData(v Volume) (parts []Extent, known bool) {
	space, known := v.(UsedSpace)
	if !known {
		return nil, false
	}
	return subtract(merge(space.Used()), merge(space.Zeros())), true
}

// Size returns the length of the disk.
func (m Image) Size() Size { return m.Layout.Size }

// subtract removes the extents of b from those of a. Both must be merged.
func subtract(a, b []Extent) []Extent {
	var left []Extent
	for _, e := range a {
		for len(b) > 0 && b[0].end() <= e.Offset {
			b = b[1:]
		}
		for _, hole := range b {
			if hole.Offset >= e.end() {
				break
			}
			if hole.Offset > e.Offset {
				left = append(left, Extent{e.Offset, hole.Offset - e.Offset})
			}
			next := min(hole.end(), e.end())
			e = Extent{next, e.end() - next}
		}
		if e.Length > 0 {
			left = append(left, e)
		}
	}
	return left
}

// merge sorts extents, and joins those that are adjacent or overlap.
func merge(extents []Extent) []Extent {
	slices.SortFunc(extents, func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	var merged []Extent
	for _, e := range extents {
		if last := len(merged) - 1; last >= 0 && merged[last].end() >= e.Offset {
			merged[last].Length = max(merged[last].end(), e.end()) - merged[last].Offset
		} else if e.Length > 0 {
			merged = append(merged, e)
		}
	}
	return merged
}

// check returns an error for volumes without a partition, and for blobs and patches that would
// damage other data.
func (m Image) check() error {
	var errs []error
	for number := range m.Volumes {
		if !slices.ContainsFunc(m.Layout.Partitions, func(p Partition) bool { return p.Number == number }) {
			errs = append(errs, fmt.Errorf("BUG: file system for partition %d, which the layout does not have", number))
		}
	}
	for _, blob := range m.Blobs {
		errs = append(errs, m.Layout.checkFree(blob.claim())...)
	}
	for _, patch := range m.Patches {
		errs = append(errs, m.Layout.checkPatch(patch.claim()))
	}
	var all []Claim
	for _, p := range slices.Concat(m.Blobs, m.Patches) {
		all = append(all, p.claim())
	}
	return errors.Join(append(errs, checkOverlaps(all)...)...)
}

// section is one partition of the image. Offset 0 is the start of the partition; a write that is
// not entirely inside the partition is an error.
type section struct {
	w           io.WriterAt
	start, size int64
}

func (s section) WriteAt(b []byte, offset int64) (int, error) {
	if offset < 0 || offset > s.size || int64(len(b)) > s.size-offset {
		return 0, fmt.Errorf("BUG: %d bytes at offset %d are outside the partition's %d bytes", len(b),
			offset, s.size)
	}
	return s.w.WriteAt(b, s.start+offset)
}

// InFile implements InFile.
func (s section) InFile() (fd int, offset int64) {
	fd, offset, _ = FileOf(s.w)
	return fd, offset + s.start
}
