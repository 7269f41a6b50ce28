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

// SectorSize is the logical sector size of most disks, and the default of a Request.
const SectorSize Size = 512

// SectorSize4K is the sector size of "4K native" disks, and of the images that are written to them.
const SectorSize4K Size = 4 * KiB

const (
	// alignment applies to the start and the end of partitions: 1 MiB, as in parted, fdisk and
	// every installer, which suits flash erase blocks, RAID stripes and reflinks.
	alignment = 1 * MiB
	// gptEntries is the number of entries in a GPT, and gptEntrySize the length of one in bytes.
	gptEntries   = 128
	gptEntrySize = 128
	// gptNameUnits is the maximum length of a partition name in a GPT, in UTF-16 code units.
	gptNameUnits = 36
	// msdosEntries is the maximum number of primary partitions in an msdos table.
	msdosEntries = 4
	// msdosSectors is the number of sectors that 32 bits can address.
	msdosSectors = 1 << 32
	// layoutMax keeps every offset within an int64 and prevents overflow.
	layoutMax = Size(1) << 62
)

// Request describes the partitions that a disk should have.
type Request struct {
	// Size is the length of the whole disk; it is rounded up to whole sectors. DiskSize computes
	// one that fits.
	Size  Size
	Table TableKind
	// SectorSize is the logical sector size of the disk that the image is for: SectorSize (also if
	// it is 0) or SectorSize4K. A table written for one sector size cannot be read with the other.
	SectorSize Size
	// Offset is the minimum free space before the first partition, from the start of the disk, for
	// the boot code of boards. It is rounded up to 1 MiB and is at least that.
	Offset Size
	// Arch is a Debian architecture. It determines the type of the root partition on a GPT disk,
	// which is "Linux filesystem" for an unknown one.
	Arch string
	// ID is the GUID of a GPT disk. Its first four bytes are the signature of an msdos disk, so
	// that both are printed with the same first eight hexadecimal digits. The IDs of the partitions
	// are derived from it.
	ID uuid.UUID
	// Partitions are placed on the disk in this order, except that swap comes last unless KeepOrder
	// is set.
	Partitions []PartitionRequest
	KeepOrder  bool
	// RestLast places the partition that takes the rest after all others, so that it can grow with
	// the disk.
	RestLast bool
}

// PartitionRequest describes one partition of a Request.
type PartitionRequest struct {
	Role Role
	// Size is rounded up to 1 MiB; 0 means all that the others leave. Exactly one partition must
	// have 0.
	Size Size
	// Number is the partition's number in the table, from 1. 0 means its position in the request.
	Number int
	// Filesystem describes the content; the Layout has it with StartLBA and SectorSize filled in.
	Filesystem Filesystem
	// LUKS is the UUID of the LUKS2 container that the file system is in (package diskimage/luks);
	// uuid.Nil if it is not encrypted.
	LUKS uuid.UUID
	// ID is the partition's GUID; uuid.Nil if it is derived from that of the disk.
	ID uuid.UUID
	// ReadOnly says that the content never changes. Only a GPT records that.
	ReadOnly bool
	// Flags are names of parted, see Flags. Unlike in parted, "boot" does not turn a GPT partition
	// into an ESP; it sets the attribute for legacy boot loaders.
	Flags []string
	// Label is the partition's name in a GPT; an msdos table cannot store it.
	Label string
}

// Layout describes where everything is on a disk.
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
	// LUKS is that of the request.
	LUKS  uuid.UUID
	Label string

	// Type, ID and Attributes are recorded in a GPT.
	Type       uuid.UUID
	ID         uuid.UUID
	Attributes uint64
	// Code and Active are recorded in an msdos table.
	Code   byte
	Active bool
	// PartUUID identifies the partition in /dev/disk/by-partuuid and root=PARTUUID=.
	PartUUID string
}

// StartLBA returns the number of the first sector.
func (p Partition) StartLBA() uint64 { return uint64(p.Start / p.SectorSize) }

// Sectors returns the length in sectors.
func (p Partition) Sectors() uint64 { return uint64(p.Size / p.SectorSize) }

// End returns the offset after the last byte.
func (p Partition) End() Size { return p.Start + p.Size }

// String returns the partition's name for messages: "partition 1 (root)".
func (p Partition) String() string { return fmt.Sprintf("partition %d (%s)", p.Number, p.Role) }

// Signature returns the disk signature of an msdos table (bytes 440 to 443 of the disk,
// little-endian).
func (l Layout) Signature() uint32 { return binary.BigEndian.Uint32(l.ID[:4]) }

// Partition returns the first partition with the role.
func (l Layout) Partition(role Role) (Partition, bool) {
	i := slices.IndexFunc(l.Partitions, func(p Partition) bool { return p.Role == role })
	if i < 0 {
		return Partition{}, false
	}
	return l.Partitions[i], true
}

// FirstStart returns the start of the first partition on the disk, which is the end of the free
// space after the table.
func (l Layout) FirstStart() Size {
	first := l.Size
	for _, p := range l.Partitions {
		first = min(first, p.Start)
	}
	return first
}

// DeriveID returns an ID for a purpose that is named by what. The same arguments always result in
// the same ID, different ones in different IDs. (It is a version 5 UUID with the seed as its name
// space.)
func DeriveID(seed uuid.UUID, what string) uuid.UUID { return uuid.NewSHA1(seed, []byte(what)) }

// NewLayout decides where everything goes. It only computes: the same request always results in the
// same layout. All starts and lengths are multiples of 1 MiB, no partition is smaller than
// requested, none overlap, and the last MiB of a GPT disk is left to the backup table. All errors
// in the request are reported together.
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
	rest, err := remaining(r, usable(l))
	if err != nil {
		return Layout{}, err
	}
	next := firstStart(r)
	for _, i := range diskOrder(r) {
		want := r.Partitions[i]
		length, _ := want.Size.roundUp(alignment)
		if length == 0 {
			length = rest
		}
		p := Partition{
			Number: numberOf(r, i), Role: want.Role, Start: next, Size: length, SectorSize: sector,
			Filesystem: want.Filesystem, LUKS: want.LUKS, Label: want.Label,
		}
		p.Filesystem.StartLBA, p.Filesystem.SectorSize = p.StartLBA(), sector
		if p.LUKS != uuid.Nil {
			p.Filesystem.SectorSize = SectorSize4K // of the encryption
		}
		if err := setType(&p, r, want); err != nil {
			return Layout{}, fmt.Errorf("%s: %w", p, err)
		}
		l.Partitions[i] = p
		next += length
	}
	return l, nil
}

// setType sets the fields of p that the table records besides its position.
func setType(p *Partition, r Request, want PartitionRequest) error {
	t, err := typeOf(r, p.Size, want)
	if err != nil {
		return err
	}
	if r.Table == MSDOS {
		p.Code, p.Active = t.code, t.active
		p.PartUUID = fmt.Sprintf("%x-%02x", r.ID[:4], p.Number)
		return nil
	}
	p.Type, p.Attributes = t.guid, t.attributes
	if p.ID = want.ID; p.ID == uuid.Nil {
		p.ID = DeriveID(r.ID, fmt.Sprintf("partition %d", p.Number))
	}
	p.PartUUID = p.ID.String()
	return nil
}

// checkDisk checks the properties of the whole disk.
func checkDisk(r Request) error {
	var errs []error
	if r.Table != MSDOS && r.Table != GPT {
		errs = append(errs, fmt.Errorf("unknown partition table %q; want one of %q, %q", r.Table, MSDOS, GPT))
	}
	if r.SectorSize != 0 && r.SectorSize != SectorSize && r.SectorSize != SectorSize4K {
		errs = append(errs, fmt.Errorf("sectors of %s: want %d or %d bytes", r.SectorSize, SectorSize,
			SectorSize4K))
	}
	size, ok := r.Size.roundUp(r.sectorSize())
	msdosMax := msdosSectors * r.sectorSize()
	switch {
	case !ok || size > layoutMax:
		errs = append(errs, fmt.Errorf("disk of %s: the largest possible is %s", r.Size, layoutMax))
	case r.Table == MSDOS && size > msdosMax:
		errs = append(errs, fmt.Errorf("disk of %s: an msdos table covers only %s; use gpt", r.Size, msdosMax))
	}
	if r.Offset > layoutMax {
		errs = append(errs, fmt.Errorf("offset of %s: the largest possible is %s", r.Offset, layoutMax))
	}
	if r.ID == uuid.Nil || r.Table == MSDOS && (Layout{ID: r.ID}).Signature() == 0 {
		errs = append(errs, errors.New("the disk has no ID"))
	}
	return errors.Join(errs...)
}

// checkPartitions checks all properties of the partitions that do not depend on their position.
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
	active, rest := 0, 0
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
			rest++
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
	if rest != 1 && len(r.Partitions) > 0 {
		errs = append(errs, fmt.Errorf("%d partitions ask for the rest of the disk; exactly one must", rest))
	}
	return errors.Join(errs...)
}

// checkLabel checks a partition name in the encoding of the table.
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

// remaining returns the part of the usable space that the partitions of fixed size leave.
func remaining(r Request, end Size) (Size, error) {
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

// firstStart returns the start of the first partition. The GPT, or the gap that GRUB uses on msdos,
// fits before 1 MiB.
func firstStart(r Request) Size {
	start, _ := r.Offset.roundUp(alignment) // Offset is below layoutMax
	return max(start, alignment)
}

// sectorSize returns the requested sector size, or the default.
func (r Request) sectorSize() Size {
	if r.SectorSize == 0 {
		return SectorSize
	}
	return r.SectorSize
}

// gptSize returns the length of a GPT at each end of the disk without the protective MBR: one
// sector for the header, and the entries.
func (l Layout) gptSize() Size { return l.SectorSize + gptEntries*gptEntrySize }

// usable returns the maximum end of the last partition.
func usable(l Layout) Size {
	end := l.Size
	if l.Table == GPT {
		end -= min(end, l.gptSize())
	}
	return end / alignment * alignment
}

// DiskSize returns the size of a disk on which the partition that takes the rest has rest bytes,
// rounded up to 1 MiB: with it as Size, NewLayout leaves no free space. NewLayout reports errors in
// the request.
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

// numberOf returns the number of the i-th partition of the request.
func numberOf(r Request, i int) int {
	if n := r.Partitions[i].Number; n != 0 {
		return n
	}
	return i + 1
}

// diskOrder returns the indexes of the partitions in their order on the disk.
func diskOrder(r Request) []int {
	order := make([]int, len(r.Partitions))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.rank(a), r.rank(b)) })
	return order
}

// rank returns the sort key for the position of the i-th partition of the request on the disk.
func (r Request) rank(i int) int {
	switch p := r.Partitions[i]; {
	case r.RestLast && p.Size == 0:
		return 2
	case p.Role == RoleSwap && !r.KeepOrder:
		return 1
	}
	return 0
}
