// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"fmt"
	"math"
)

// Claim is a part of the disk that something wants for itself.
type Claim struct {
	Extent        // from the start of the disk
	What   string // names it in errors: "GRUB core.img"
}

// Bytes of sector 0 that belong to the partition table, on a GPT disk (whose protective MBR is there) as well: the four
// entries, between the disk signature and the 55 AA.
const (
	entriesStart = 446
	entriesEnd   = 510
	// mbrEnd is the end of the master boot record, whatever the size of sectors.
	mbrEnd = 512
)

// CheckFree returns an error for each claim that is not free to be taken: that reaches beyond the disk, or touches the
// partition table, a partition or another claim. It is for what Image.Blobs will hold, when only the lengths are known.
func (l Layout) CheckFree(claims []Claim) error {
	var errs []error
	for _, c := range claims {
		errs = append(errs, l.checkFree(c)...)
	}
	return errors.Join(append(errs, checkOverlaps(claims)...)...)
}

// checkFree compares one claim with everything that the layout describes.
func (l Layout) checkFree(c Claim) []error {
	errs := []error{l.checkInside(c)}
	// Nobody but the table has business with the disk signature and the 55 AA, which a boot loader's patch may contain.
	errs = append(errs, l.checkTable(c, Extent{mbrSignatureAt, mbrEnd - mbrSignatureAt}))
	for _, p := range l.Partitions {
		there := Claim{Extent{int64(p.Start), int64(p.Size)}, p.String()}
		if c.overlaps(there.Extent) {
			errs = append(errs, overlapError(there, c))
		}
	}
	return errs
}

// checkPatch compares one claim with the ends of the disk and with what only the partition table may write.
func (l Layout) checkPatch(c Claim) error {
	if err := l.checkInside(c); err != nil {
		return err
	}
	return l.checkTable(c, Extent{entriesStart, entriesEnd - entriesStart})
}

// checkInside compares a claim with the ends of the disk.
func (l Layout) checkInside(c Claim) error {
	if size := int64(l.Size); c.Offset < 0 || c.Offset > size || c.Length > size-c.Offset {
		return fmt.Errorf("%s (%d bytes at offset %d) does not fit on a disk of %d bytes", c.What, c.Length,
			c.Offset, size)
	}
	return nil
}

// checkTable compares a claim with the partition table, whose part of sector 0 is given.
func (l Layout) checkTable(c Claim, mbr Extent) error {
	for _, r := range append(l.gptExtents(), mbr) {
		if c.overlaps(r) {
			return fmt.Errorf("%s (%s) would overwrite the partition table (%s)", c.What, c.Extent, r)
		}
	}
	return nil
}

// gptExtents are both copies of a GPT, without the protective MBR.
func (l Layout) gptExtents() []Extent {
	if l.Table != GPT {
		return nil
	}
	length := int64(l.gptSize())
	return []Extent{{int64(l.SectorSize), length}, {int64(l.Size) - length, length}}
}

// tableExtents are the places of everything that WriteTable writes.
func (l Layout) tableExtents() []Extent { return append(l.gptExtents(), Extent{0, mbrEnd}) }

// checkOverlaps compares claims with each other.
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

// end is the offset of the first byte behind the extent; the largest number where that has none.
func (e Extent) end() int64 { return e.Offset + min(e.Length, math.MaxInt64-e.Offset) }

// overlaps reports whether two extents share a byte.
func (e Extent) overlaps(other Extent) bool {
	return e.Length > 0 && other.Length > 0 && e.Offset < other.end() && other.Offset < e.end()
}

// String names the first and the last byte.
func (e Extent) String() string { return fmt.Sprintf("bytes %d to %d", e.Offset, e.end()-1) }
