// SPDX-License-Identifier: Apache-2.0

package disk

// Sizes in directories.
const (
	MaxNameLength = 255
	SlotSize      = 8 // of a name; each slot has a DirEntry, of which only the first one of a name is used
	DirEntrySize  = 11
	// BlockSlots and InlineSlots are the numbers of slots in a block and in an inode.
	BlockSlots  = 214
	InlineSlots = 182
)

// FileType is the type of a file in a directory entry.
type FileType uint8

// DirEntry is one name.
type DirEntry struct {
	Hash       uint32   // 0x0
	Inode      uint32   // 0x4
	NameLength uint16   // 0x8
	Type       FileType // 0xA
}

// Slots returns the number of slots that a name of nameLength bytes takes.
func Slots(nameLength int) int { return (nameLength + SlotSize - 1) / SlotSize }

// Entries is a block of a directory, or the inline form in an inode: a bitmap of the slots, lowest
// bit first, padding, entries, and names.
type Entries struct {
	area   []byte
	slots  int
	filled int
}

// NewEntries returns empty Entries in an area of zeros: a block, or the inline data of an inode.
func NewEntries(area []byte) *Entries {
	if len(area) == BlockSize {
		return &Entries{area: area, slots: BlockSlots}
	}
	return &Entries{area: area[:InlineDataSize], slots: InlineSlots}
}

// Add appends a name in the next slots. It panics if there are too few.
func (e *Entries) Add(entry DirEntry, name string) {
	n := Slots(len(name))
	if e.filled+n > e.slots {
		panic("BUG: a directory block is full")
	}
	for i := e.filled; i < e.filled+n; i++ {
		e.area[i/8] |= 1 << (i % 8)
	}
	names := len(e.area) - e.slots*SlotSize
	b := le.AppendUint32(e.area[names-(e.slots-e.filled)*DirEntrySize:][:0:DirEntrySize], entry.Hash)
	b = le.AppendUint32(b, entry.Inode)
	b = le.AppendUint16(b, entry.NameLength)
	_ = append(b, uint8(entry.Type))
	copy(e.area[names+e.filled*SlotSize:], name)
	e.filled += n
}
