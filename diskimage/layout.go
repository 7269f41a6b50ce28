// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"
)

// SectorSize is the unit of the partition tables on all but the newest disks: what a Request without a sector size
// gets.
const SectorSize Size = 512

// SectorSize4K is the other unit that disks have: that of "4K native" ones, and of the images that are written to them.
const SectorSize4K Size = 4 * KiB

const (
	// alignment is where partitions start and end: on 1 MiB, as parted, fdisk and every installer do, which suits
	// flash erase blocks, RAID stripes and reflinks.
	alignment = 1 * MiB
	// gptEntries is the number of entries a GPT has room for, and gptEntrySize the length of one in bytes.
	gptEntries   = 128
	gptEntrySize = 128
	// gptNameUnits is the length of a partition name in a GPT, in UTF-16 code units.
	gptNameUnits = 36
	// msdosEntries is the number of primary partitions an msdos table has room for.
	msdosEntries = 4
	// msdosSectors is how many sectors numbers of 32 bits reach.
	msdosSectors = 1 << 32
	// layoutMax keeps every offset inside an int64 and the arithmetic free of overflow.
	layoutMax = Size(1) << 62
)

// Request is a wish list for the partitions of a disk.
type Request struct {
	// Size is the length of the whole disk; it is rounded up to whole sectors. DiskSize gives one that fits.
	Size  Size
	Table TableKind
	// SectorSize is the logical sector size of the disk that the image is for, SectorSize4K or SectorSize, which 0
	// stands for. A table that is written for one cannot be read on the other.
	SectorSize Size
	// Offset is the free space before the first partition, counted from the start of the disk, for boot code of
	// boards (or nothing). It is rounded up to 1 MiB and is at least that.
	Offset Size
	// Arch is a Debian architecture; it chooses the type of the root partition on a GPT disk. For an unknown one it
	// is "Linux filesystem".
	Arch string
	// ID is the GUID of a GPT disk. Of an msdos disk its first four bytes are the signature, so that both are written
	// with the same eight hexadecimal digits at the front. The IDs of the partitions follow from it.
	ID uuid.UUID
	// Partitions are placed on the disk in this order, except that swap goes behind all others unless KeepOrder.
	Partitions []PartitionRequest
	KeepOrder  bool
	// RestLast has the partition that asks for the rest go behind all others, so that it can grow with the disk.
	RestLast bool
}

// PartitionRequest is a wish for one partition.
type PartitionRequest struct {
	Role Role
	// Size is rounded up to 1 MiB; 0 is all that the others leave. Exactly one partition must ask for that.
	Size Size
	// Number is the partition's number in the table, from 1. 0 is its position in the request.
	Number int
	// Filesystem says what will be written into it; Layout passes it on with StartLBA filled in.
	Filesystem Filesystem
	// Flags have parted's names, see Flags. Unlike in parted "boot" does not turn a GPT partition into an ESP: there
	// it is the attribute that legacy boot loaders look for.
	Flags []string
	// Label is the partition's name in a GPT; an msdos table cannot record it.
	Label string
}

// Layout says where everything is on a disk.
type Layout struct {
	Size       Size
	Table      TableKind
	SectorSize Size
	ID         uuid.UUID
	// Partitions are in the order of the request.
	Partitions []Partition
}

// Partition is one partition of a Layout.
type Partition struct {
	Number int
	Role   Role
	// Start and Size are in bytes, multiples of 1 MiB.
	Start, Size Size
	// SectorSize is that of the disk.
	SectorSize Size
	Filesystem Filesystem
	Label      string

	// Type, ID and Attributes are what a GPT records.
	Type       uuid.UUID
	ID         uuid.UUID
	Attributes uint64
	// Code and Active are what an msdos table records.
	Code   byte
	Active bool
	// PartUUID names the partition in the form of /dev/disk/by-partuuid and root=PARTUUID=.
	PartUUID string
}

// StartLBA is the number of the first sector.
func (p Partition) StartLBA() uint64 { return uint64(p.Start / p.SectorSize) }

// Sectors is the length in sectors.
func (p Partition) Sectors() uint64 { return uint64(p.Size / p.SectorSize) }

// End is the offset of the first byte behind the partition.
func (p Partition) End() Size { return p.Start + p.Size }

// String names the partition in messages: "partition 1 (root)".
func (p Partition) String() string { return fmt.Sprintf("partition %d (%s)", p.Number, p.Role) }

// Signature is the disk signature of an msdos table (bytes 440 to 443 of the disk, little-endian).
func (l Layout) Signature() uint32 { return binary.BigEndian.Uint32(l.ID[:4]) }

// Partition returns the first partition with a role.
func (l Layout) Partition(role Role) (Partition, bool) {
	i := slices.IndexFunc(l.Partitions, func(p Partition) bool { return p.Role == role })
	if i < 0 {
		return Partition{}, false
	}
	return l.Partitions[i], true
}

// FirstStart is the start of the first partition on the disk: where the free space behind the table ends.
func (l Layout) FirstStart() Size {
	first := l.Size
	for _, p := range l.Partitions {
		first = min(first, p.Start)
	}
	return first
}

// DeriveID makes an ID from a seed and the name of what it is for: always the same for the same two, and different
// for different ones. (It is a version 5 UUID with the seed as its name space.)
func DeriveID(seed uuid.UUID, what string) uuid.UUID { return uuid.NewSHA1(seed, []byte(what)) }

// NewLayout decides where everything goes. It is pure arithmetic: the same request gives the same layout. All starts
// and lengths are multiples of 1 MiB, no partition has less than it asked for, none overlap, and a GPT keeps the last
// MiB of the disk for its backup. All mistakes of the request are reported together.
//
// Not supported: logical partitions, and thus more than four on msdos; alignments other than 1 MiB.
func NewLayout(r Request) (Layout, error) {
	if err := errors.Join(checkDisk(r), checkPartitions(r)); err != nil {
		return Layout{}, err
	}
	sector := r.sectorSize()
	size, _ := r.Size.roundUp(sector)
	l := Layout{Size: size, Table: r.Table, SectorSize: sector, ID: r.ID,
		Partitions: make([]Partition, len(r.Partitions))}
	rest, err := share(r, usable(l))
	if err != nil {
		return Layout{}, err
	}
	next := firstStart(r)
	for _, i := range diskOrder(r) {
		wish := r.Partitions[i]
		length, _ := wish.Size.roundUp(alignment)
		if length == 0 {
			length = rest
		}
		p := Partition{
			Number: numberOf(r, i), Role: wish.Role, Start: next, Size: length, SectorSize: sector,
			Filesystem: wish.Filesystem, Label: wish.Label,
		}
		p.Filesystem.StartLBA, p.Filesystem.SectorSize = p.StartLBA(), sector
		if err := mark(&p, r, wish); err != nil {
			return Layout{}, fmt.Errorf("%s: %w", p, err)
		}
		l.Partitions[i] = p
		next += length
	}
	return l, nil
}

// mark fills in what the table records of the partition beside its place.
func mark(p *Partition, r Request, wish PartitionRequest) error {
	t, err := typeOf(r, p.Size, wish)
	if err != nil {
		return err
	}
	if r.Table == MSDOS {
		p.Code, p.Active = t.code, t.active
		p.PartUUID = fmt.Sprintf("%x-%02x", r.ID[:4], p.Number)
		return nil
	}
	p.Type, p.Attributes = t.guid, t.attributes
	p.ID = DeriveID(r.ID, fmt.Sprintf("partition %d", p.Number))
	p.PartUUID = p.ID.String()
	return nil
}

// checkDisk looks at what concerns the disk as a whole.
func checkDisk(r Request) error {
	var errs []error
	if r.Table != MSDOS && r.Table != GPT {
		errs = append(errs, fmt.Errorf("partition table %q: only %q and %q are known", r.Table, MSDOS, GPT))
	}
	if r.SectorSize != 0 && r.SectorSize != SectorSize && r.SectorSize != SectorSize4K {
		errs = append(errs, fmt.Errorf("sectors of %s: only %d and %d bytes are known", r.SectorSize, SectorSize,
			SectorSize4K))
	}
	size, ok := r.Size.roundUp(r.sectorSize())
	msdosMax := msdosSectors * r.sectorSize()
	switch {
	case !ok || size > layoutMax:
		errs = append(errs, fmt.Errorf("disk of %s: the largest possible is %s", r.Size, layoutMax))
	case r.Table == MSDOS && size > msdosMax:
		errs = append(errs, fmt.Errorf("disk of %s: an msdos table reaches only %s; use gpt", r.Size, msdosMax))
	}
	if r.Offset > layoutMax {
		errs = append(errs, fmt.Errorf("offset of %s: the largest possible is %s", r.Offset, layoutMax))
	}
	if r.ID == uuid.Nil || r.Table == MSDOS && (Layout{ID: r.ID}).Signature() == 0 {
		errs = append(errs, errors.New("the disk has no ID"))
	}
	return errors.Join(errs...)
}

// checkPartitions looks at what can be said of the partitions before they are placed.
func checkPartitions(r Request) error {
	var errs []error
	if len(r.Partitions) == 0 {
		errs = append(errs, errors.New("no partitions"))
	}
	most := gptEntries
	if r.Table == MSDOS {
		most = msdosEntries
	}
	if len(r.Partitions) > most {
		errs = append(errs, fmt.Errorf("%d partitions: %s has room for %d", len(r.Partitions), r.Table, most))
	}
	taken := make(map[int]bool)
	active, open := 0, 0
	for i, p := range r.Partitions {
		number := numberOf(r, i)
		name := Partition{Number: number, Role: p.Role}
		if number < 1 || number > most {
			errs = append(errs, fmt.Errorf("%s: %s numbers partitions from 1 to %d", name, r.Table, most))
		}
		if taken[number] {
			errs = append(errs, fmt.Errorf("%s: the number is taken", name))
		}
		taken[number] = true
		if p.Size > layoutMax {
			errs = append(errs, fmt.Errorf("%s: %s needed, the largest possible is %s", name, p.Size, layoutMax))
		}
		if p.Size == 0 {
			open++
		}
		if err := checkLabel(p.Label); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		t, err := typeOf(r, p.Size, p)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if t.active {
			active++
		}
	}
	if active > 1 {
		errs = append(errs, fmt.Errorf("%d partitions have the boot flag; msdos allows one", active))
	}
	if open != 1 && len(r.Partitions) > 0 {
		errs = append(errs, fmt.Errorf("%d partitions ask for the rest of the disk; exactly one must", open))
	}
	return errors.Join(errs...)
}

// checkLabel measures a partition name as the table stores it.
func checkLabel(label string) error {
	if !utf8.ValidString(label) {
		return fmt.Errorf("label %q is not UTF-8", label)
	}
	if slices.Contains([]byte(label), 0) {
		return fmt.Errorf("label %q holds a zero byte", label)
	}
	if n := len(utf16.Encode([]rune(label))); n > gptNameUnits {
		return fmt.Errorf("label %q is %d UTF-16 units long; a partition table holds %d", label, n, gptNameUnits)
	}
	return nil
}

// share returns what the partitions of fixed size leave of the usable space to the one without.
func share(r Request, end Size) (Size, error) {
	start := firstStart(r)
	available := Size(0)
	if end > start {
		available = end - start
	}
	needed := Size(0)
	for i, p := range r.Partitions {
		length, _ := p.Size.roundUp(alignment) // sizes are below layoutMax
		if length == 0 {
			continue
		}
		if needed+length > available {
			name := Partition{Number: numberOf(r, i), Role: p.Role}
			return 0, fmt.Errorf("%s does not fit: %s needed, %s available (disk of %s, %s before the first partition)",
				name, mebibytes(length), mebibytes(available-needed), r.Size, mebibytes(start))
		}
		needed += length
	}
	if rest := available - needed; rest > 0 {
		return rest, nil
	}
	i := slices.IndexFunc(r.Partitions, func(p PartitionRequest) bool { return p.Size == 0 })
	name := Partition{Number: numberOf(r, i), Role: r.Partitions[i].Role}
	return 0, fmt.Errorf("%s does not fit: at least 1 MiB needed, 0 MiB available (disk of %s, %s before the first "+
		"partition, %s in the other partitions)", name, r.Size, mebibytes(start), mebibytes(needed))
}

// firstStart is where the first partition begins. The GPT and the gap that GRUB uses on msdos fit before 1 MiB.
func firstStart(r Request) Size {
	start, _ := r.Offset.roundUp(alignment) // Offset is below layoutMax
	return max(start, alignment)
}

// sectorSize is the one asked for, or the default.
func (r Request) sectorSize() Size {
	if r.SectorSize == 0 {
		return SectorSize
	}
	return r.SectorSize
}

// gptSize is what a GPT takes at each end of the disk without the protective MBR: a sector for the header, and the
// entries.
func (l Layout) gptSize() Size { return l.SectorSize + gptEntries*gptEntrySize }

// usable is where the last partition must end.
func usable(l Layout) Size {
	end := l.Size
	if l.Table == GPT {
		end -= min(end, l.gptSize())
	}
	return end / alignment * alignment
}

// DiskSize is the size of the disk on which the partition that asks for the rest gets rest bytes, rounded up to 1 MiB:
// with it as Size, NewLayout leaves nothing over. What is wrong with the request, NewLayout says.
func (r Request) DiskSize(rest Size) Size {
	size := firstStart(r) + max(rest, 1)
	for _, p := range r.Partitions {
		length, _ := p.Size.roundUp(alignment)
		size += length
	}
	size, _ = size.roundUp(alignment)
	if r.Table == GPT {
		size += alignment // the backup fits, and the disk stays a multiple of 1 MiB
	}
	return size
}

// numberOf is the number of the i-th partition of the request.
func numberOf(r Request, i int) int {
	if n := r.Partitions[i].Number; n != 0 {
		return n
	}
	return i + 1
}

// diskOrder returns the indexes of the partitions in the order of their places.
func diskOrder(r Request) []int {
	order := make([]int, len(r.Partitions))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.behind(a), r.behind(b)) })
	return order
}

// behind is the place of the i-th partition of the request in the order of the disk; those with the same one keep
// theirs.
func (r Request) behind(i int) int {
	switch p := r.Partitions[i]; {
	case r.RestLast && p.Size == 0:
		return 2
	case p.Role == RoleSwap && !r.KeepOrder:
		return 1
	}
	return 0
}
