// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"fmt"
	"math"
)

// Claim is a range of the disk that something needs for itself.
type Claim struct {
	Extent        // from the start of the disk
	What   string // names it in errors: "GRUB core.img"
}

// The bytes of sector 0 that belong to the partition table: the four entries between the disk
// signature and 55 AA. A GPT disk has its protective MBR there.
const (
	entriesStart = 446
	entriesEnd   = 510
	// mbrEnd is the end of the master boot record, for every sector size.
	mbrEnd = 512
)

// CheckFree returns an error for each claim that reaches beyond the disk, or overlaps the partition
// table, a partition or another claim. It checks the future content of Image.Blobs when only the
// lengths are known.
func (l Layout) CheckFree(claims []Claim) error {
	var errs []error
	for _, c := range claims {
		errs = append(errs, l.checkFree(c)...)
	}
	return errors.Join(append(errs, checkOverlaps(claims)...)...)
}

// checkFree checks one claim against everything that the layout describes.
func (l Layout) checkFree(c Claim) []error {
	errs := []error{l.checkInside(c)}
	// Only the table may write the disk signature and 55 AA, except that a boot loader's patch may
	// contain them.
	errs = append(errs, l.checkTable(c, Extent{mbrSignatureAt, mbrEnd - mbrSignatureAt}))
	for _, p := range l.Partitions {
		there := Claim{Extent{int64(p.Start), int64(p.Size)}, p.String()}
		if c.overlaps(there.Extent) {
			errs = append(errs, overlapError(there, c))
		}
	}
	return errs
}

// checkPatch checks one claim against the ends of the disk and the bytes that only the partition
// table may write.
func (l Layout) checkPatch(c Claim) error {
	if err := l.checkInside(c); err != nil {
		return err
	}
	return l.checkTable(c, Extent{entriesStart, entriesEnd - entriesStart})
}

// checkInside checks a claim against the ends of the disk.
func (l Layout) checkInside(c Claim) error {
	if size := int64(l.Size); c.Offset < 0 || c.Offset > size || c.Length > size-c.Offset {
		return fmt.Errorf("%s (%d bytes at offset %d) does not fit on a disk of %d bytes", c.What, c.Length,
			c.Offset, size)
	}
	return nil
}

// checkTable checks a claim against the partition table; mbr is the table's part of sector 0.
func (l Layout) checkTable(c Claim, mbr Extent) error {
	for _, r := range append(l.gptExtents(), mbr) {
		if c.overlaps(r) {
			return fmt.Errorf("%s (%s) would overwrite the partition table (%s)", c.What, c.Extent, r)
		}
	}
	return nil
}

// gptExtents returns the extents of both copies of a GPT, without the protective MBR.
func (l Layout) gptExtents() []Extent {
	if l.Table != GPT {
		return nil
	}
	length := int64(l.gptSize())
	return []Extent{{int64(l.SectorSize), length}, {int64(l.Size) - length, length}}
}

// tableExtents returns the extents of everything that WriteTable writes.
func (l Layout) tableExtents() []Extent { return append(l.gptExtents(), Extent{0, mbrEnd}) }

// checkOverlaps checks claims against each other.
func checkOverlaps(claims []Claim) []error {
	var errs []error
	for i, c := range claims {
		for _, before := range claims[:i] {
			if c.overlaps(before.Extent) {
				errs = append(errs, overlapError(before, c))
			}
		}
	}
	return errs
}

func overlapError(a, b Claim) error {
	return fmt.Errorf("%s (%s) and %s (%s) overlap", a.What, a.Extent, b.What, b.Extent)
}

// end returns the offset after the extent's last byte, or the largest number if that overflows.
func (e Extent) end() int64 { return e.Offset + min(e.Length, math.MaxInt64-e.Offset) }

// overlaps reports whether two extents share a byte.
func (e Extent) overlaps(other Extent) bool {
	return e.Length > 0 && other.Length > 0 && e.Offset < other.end() && other.Offset < e.end()
}

// String returns the offsets of the first and the last byte.
func (e Extent) String() string { return fmt.Sprintf("bytes %d to %d", e.Offset, e.end()-1) }
