package diskimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// RawFile is what an image is written to: a file that is empty, or all of whose bytes are zero. *os.File is one.
type RawFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Image is everything that goes onto a disk.
type Image struct {
	Layout Layout
	// Volumes holds the planned file systems by partition number. A partition without one stays empty.
	Volumes map[int]Volume
	// Patches are written last, in this order.
	Patches []Patch
}

// Patch is bytes at a place that no file system describes: boot code, or a boot loader's notes about itself inside
// its own files.
type Patch struct {
	Offset int64 // from the start of the disk
	Data   []byte
	What   string // names it in errors: "GRUB core.img"
}

// Bytes of sector 0 that belong to the partition table, on a GPT disk (whose protective MBR is there) as well:
// the four entries. The disk signature before them and the 55 AA behind them may be patched with what they are anyway.
const (
	entriesStart = 446
	entriesEnd   = 510
)

// end is the offset of the first byte behind the patch.
func (p Patch) end() int64 { return p.Offset + int64(len(p.Data)) }

// overlaps reports whether the patch touches a range.
func (p Patch) overlaps(start, end int64) bool {
	return len(p.Data) > 0 && p.Offset < end && start < p.end()
}

// Write writes the image: sets the length of w without allocating it, then the partition table, the file systems in
// the order of their partitions on the disk, the patches. Nothing is written before the image has been checked as a
// whole. Zeros are left out, so a sparse file stays sparse. Write does not sync.
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
	for _, p := range m.Patches {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.WriteAt(p.Data, p.Offset); err != nil {
			return fmt.Errorf("write %s at offset %d: %w", p.What, p.Offset, err)
		}
	}
	return nil
}

// check finds volumes without a partition and patches that would damage something.
func (m Image) check() error {
	var errs []error
	for number := range m.Volumes {
		if !slices.ContainsFunc(m.Layout.Partitions, func(p Partition) bool { return p.Number == number }) {
			errs = append(errs, fmt.Errorf("BUG: file system for partition %d, which the layout does not have", number))
		}
	}
	for i, p := range m.Patches {
		if err := m.checkPatch(p); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, q := range m.Patches[:i] {
			if p.overlaps(q.Offset, q.end()) {
				errs = append(errs, fmt.Errorf("%s (bytes %d to %d) and %s (bytes %d to %d) overlap",
					q.What, q.Offset, q.end()-1, p.What, p.Offset, p.end()-1))
			}
		}
	}
	return errors.Join(errs...)
}

// checkPatch compares one patch with the ends of the disk and with the partition table.
func (m Image) checkPatch(p Patch) error {
	size := int64(m.Layout.Size)
	if p.Offset < 0 || p.Offset > size || int64(len(p.Data)) > size-p.Offset {
		return fmt.Errorf("%s (%d bytes at offset %d) does not fit on a disk of %d bytes", p.What, len(p.Data), p.Offset, size)
	}
	for _, r := range m.tableRanges() {
		if p.overlaps(r.Offset, r.Offset+r.Length) {
			return fmt.Errorf("%s (bytes %d to %d) would overwrite the partition table (bytes %d to %d)",
				p.What, p.Offset, p.end()-1, r.Offset, r.Offset+r.Length-1)
		}
	}
	return nil
}

// tableRanges lists the bytes that only the partition table may write.
func (m Image) tableRanges() []Extent {
	ranges := []Extent{{Offset: entriesStart, Length: entriesEnd - entriesStart}}
	if m.Layout.Table == GPT {
		length := int64(gptSectors * SectorSize)
		ranges = append(ranges, Extent{int64(SectorSize), length}, Extent{int64(m.Layout.Size) - length, length})
	}
	return ranges
}

// section is one partition's part of the image. Offset 0 is the start of the partition; what would go outside of it
// is refused as a whole.
type section struct {
	w           io.WriterAt
	start, size int64
}

func (s section) WriteAt(b []byte, offset int64) (int, error) {
	if offset < 0 || offset > s.size || int64(len(b)) > s.size-offset {
		return 0, fmt.Errorf("BUG: %d bytes at offset %d are outside of the partition's %d bytes", len(b), offset, s.size)
	}
	return s.w.WriteAt(b, s.start+offset)
}

// InFile implements InFile.
func (s section) InFile() (fd int, offset int64) {
	fd, offset, _ = FileOf(s.w)
	return fd, offset + s.start
}
