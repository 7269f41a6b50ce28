// SPDX-License-Identifier: Apache-2.0

package fat

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"
)

const (
	dirEntrySize  = 32
	maxDirEntries = 65536 // a directory is at most 2 MiB long

	attrReadOnly  = 0x01
	attrHidden    = 0x02
	attrSystem    = 0x04
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20 // "not backed up yet", which is what new files have
	attrLongName  = 0x0f

	lastLong = 0x40 // marks the entry with the end of a long name, which comes first
)

// dirEntry is a file, a directory or the volume label in a directory (fatgen, "FAT Directory Structure").
type dirEntry struct {
	Name         shortName // 0x00
	Attributes   uint8     // 0x0b
	_            uint8     // 0x0c Windows NT: lower-case flags, not used with a long name
	CreatedTenth uint8     // 0x0d hundredths of a second on top of CreatedTime, 0 to 199
	CreatedTime  uint16    // 0x0e
	CreatedDate  uint16    // 0x10
	AccessedDate uint16    // 0x12
	ClusterHigh  uint16    // 0x14
	WrittenTime  uint16    // 0x16
	WrittenDate  uint16    // 0x18
	ClusterLow   uint16    // 0x1a
	FileSize     uint32    // 0x1c 0 for directories
}

// longEntry is a part of a long name; the parts precede the dirEntry in reverse order (fatgen, "FAT
// Long Directory Entries").
type longEntry struct {
	Order      uint8     // 0x00 from 1, with lastLong
	Name1      [5]uint16 // 0x01
	Attributes uint8     // 0x0b attrLongName
	_          uint8     // 0x0c
	Checksum   uint8     // 0x0d of the short name
	Name2      [6]uint16 // 0x0e
	_          uint16    // 0x1a
	Name3      [2]uint16 // 0x1c
}

// nameChildren assigns short and long names to the children of a directory and returns the number
// of entries that they need.
func (n *node) nameChildren() (entries int, err error) {
	names := shortNames{taken: make(map[shortName]bool), tails: make(map[string]int)}
	folded := make(map[string]string)
	for _, child := range n.children {
		key := foldCase(child.base())
		if other, ok := folded[key]; ok {
			return 0, fmt.Errorf("%q cannot be on a FAT file system: it differs from %q only in case",
				child.name,
				other)
		}
		folded[key] = child.name
		if short, ok := exactShort(child.base()); ok {
			child.short = short
			names.taken[short] = true
			entries++
		}
	}
	for _, child := range n.children {
		if child.short != (shortName{}) {
			continue
		}
		if child.short, err = names.forLong(child.base()); err != nil {
			return 0, fmt.Errorf("%q cannot be on a FAT file system: %w", child.name, err)
		}
		child.long = utf16.Encode([]rune(child.base()))
		entries += 1 + (len(child.long)+longPerSlot-1)/longPerSlot
	}
	return entries, nil
}

// encodeDirectory returns the content of a directory.
func (v *volume) encodeDirectory(n *node) []byte {
	var b []byte
	switch {
	case n.parent != nil:
		b = appendEntry(b, newDirEntry(dotName, attrDirectory, n.mtime, n.cluster, 0))
		up := n.parent.cluster
		if n.parent.parent == nil {
			up = 0 // the root has this number even on FAT32, where it has a cluster
		}
		b = appendEntry(b, newDirEntry(dotDotName, attrDirectory, n.parent.mtime, up, 0))
	case !v.label.isEmpty():
		b = appendEntry(b, newDirEntry(v.label, attrVolume, v.time, 0, 0))
	}
	for _, child := range n.children {
		b = appendLong(b, child)
		if child.isDir {
			b = appendEntry(b, newDirEntry(child.short, attrDirectory, child.mtime, child.cluster, 0))
			continue
		}
		attributes := uint8(attrArchive)
		if child.immutable {
			attributes |= attrReadOnly | attrHidden | attrSystem
		}
		b = appendEntry(b, newDirEntry(child.short, attributes, child.mtime, child.cluster, uint32(child.size)))
	}
	return b
}

// appendEntry appends a structure in its form on disk.
func appendEntry(b []byte, entry any) []byte {
	b, err := binary.Append(b, binary.LittleEndian, entry)
	if err != nil {
		panic("BUG: " + err.Error()) // only for types without a fixed size
	}
	return b
}

// newDirEntry returns a directory entry.
func newDirEntry(name shortName, attributes uint8, mtime time.Time, cluster, size uint32) dirEntry {
	date, clock, tenth := dosTime(mtime)
	return dirEntry{
		Name: name, Attributes: attributes, CreatedTenth: tenth, CreatedTime: clock, CreatedDate: date,
		AccessedDate: date,
		ClusterHigh:  uint16(cluster >> 16), WrittenTime: clock, WrittenDate: date, ClusterLow: uint16(cluster),
		FileSize: size,
	}
}

// appendLong appends the entries of the long name, if there is one.
func appendLong(b []byte, n *node) []byte {
	parts := (len(n.long) + longPerSlot - 1) / longPerSlot
	for part := parts; part > 0; part-- {
		var units [longPerSlot]uint16
		for i := range units {
			units[i] = 0xffff // after the end and one zero
		}
		rest := n.long[(part-1)*longPerSlot:]
		if copied := copy(units[:], rest); copied < longPerSlot {
			units[copied] = 0
		}
		e := longEntry{Order: uint8(part), Attributes: attrLongName, Checksum: n.short.checksum()}
		if part == parts {
			e.Order |= lastLong
		}
		copy(e.Name1[:], units[:5])
		copy(e.Name2[:], units[5:11])
		copy(e.Name3[:], units[11:])
		b = appendEntry(b, e)
	}
	return b
}

// The range of times on FAT.
var (
	earliest = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2107, 12, 31, 23, 59, 59, 0, time.UTC)
)

// dosTime converts a time to the form on FAT (fatgen, "Date and Time Formats"), in UTC and clamped
// to the range of FAT: date, time in steps of two seconds, and the rest in hundredths of a second.
func dosTime(t time.Time) (date, clock uint16, tenth uint8) {
	t = t.UTC()
	if t.Before(earliest) {
		t = earliest
	}
	if t.After(latest) {
		t = latest
	}
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	date = uint16(year-1980)<<9 | uint16(month)<<5 | uint16(day)
	clock = uint16(hour)<<11 | uint16(minute)<<5 | uint16(second/2)
	return date, clock, uint8(second%2*100 + t.Nanosecond()/int(10*time.Millisecond))
}
