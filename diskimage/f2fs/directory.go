// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"
	"maps"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// directory is the content of a directory. A small one is in its inode, except the root, which the
// kernel treats as damaged if it has no blocks (f2fs_fill_super in fs/f2fs/super.c). A larger one
// is a file with a sequence of hash tables, each with twice as many buckets as the previous one: a
// name is in the first table whose bucket had room (f2fs_add_regular_entry in fs/f2fs/dir.c).
// Blocks without names are holes.
type directory struct {
	self, parent *node
	entries      []dirEntry

	inline bool
	blocks map[uint32]*dirBlock // by block of the file, if not inline
	depth  uint32               // number of hash tables
}

// dirEntry is one name.
type dirEntry struct {
	name string
	node *node
}

// dirBlock is a block of a directory.
type dirBlock struct {
	entries []int32 // indexes in directory.entries; the first block begins with "." and ".."
	slots   int
}

const (
	// dotSlots is the number of slots of "." and "..".
	dotSlots = 2
	// bucketBlocks is the number of blocks in a bucket of the tables that are used here.
	bucketBlocks = 2
	// mostTables is far more than any directory needs unless its names were chosen to have the same
	// hashes.
	mostTables = 26
)

// pack distributes the entries over blocks.
func (d *directory) pack() error {
	slots := dotSlots
	for _, e := range d.entries {
		slots += disk.Slots(len(e.name))
	}
	d.depth = 1
	if d.inline = slots <= disk.InlineSlots && d.self != d.parent; d.inline {
		return nil
	}
	d.blocks = map[uint32]*dirBlock{0: {slots: dotSlots}}
	for i, e := range d.entries {
		block, err := d.room(e.name)
		if err != nil {
			return err
		}
		block.entries = append(block.entries, int32(i))
		block.slots += disk.Slots(len(e.name))
	}
	return nil
}

// room returns the block for a name.
func (d *directory) room(name string) (*dirBlock, error) {
	hash, slots := dirHash(name), disk.Slots(len(name))
	var table uint32 // first block of the table
	for level := range uint32(mostTables) {
		buckets := uint32(1) << level
		bucket := table + hash%buckets*bucketBlocks
		for at := bucket; at < bucket+bucketBlocks; at++ {
			block := d.blocks[at]
			if block == nil {
				block = &dirBlock{}
				d.blocks[at] = block
			}
			if block.slots+slots <= disk.BlockSlots {
				d.depth = max(d.depth, level+1)
				return block, nil
			}
		}
		table += buckets * bucketBlocks
	}
	return nil, fmt.Errorf("%q: too many names have hashes that end with the same bits", name)
}

// spans returns the blocks of the directory in ascending order.
func (d *directory) spans() []inode.Span {
	var spans []inode.Span
	for _, at := range slices.Sorted(maps.Keys(d.blocks)) {
		spans = inode.AddSpan(spans, uint64(at), uint64(at)+1)
	}
	return spans
}

// putInline writes a small directory into area, a part of its inode.
func (d *directory) putInline(area []byte) {
	e := disk.NewEntries(area)
	d.putDots(e)
	for _, entry := range d.entries {
		put(e, entry.name, dirHash(entry.name), entry.node)
	}
}

// putBlock writes one block of a large directory.
func (d *directory) putBlock(at uint32, dst []byte) {
	e := disk.NewEntries(dst)
	if at == 0 {
		d.putDots(e)
	}
	for _, i := range d.blocks[at].entries {
		put(e, d.entries[i].name, dirHash(d.entries[i].name), d.entries[i].node)
	}
}

func (d *directory) putDots(e *disk.Entries) {
	put(e, ".", 0, d.self)
	put(e, "..", 0, d.parent)
}

func put(e *disk.Entries, name string, hash uint32, n *node) {
	e.Add(disk.DirEntry{Hash: hash, Inode: n.number, NameLength: uint16(len(name)),
		Type: disk.FileType(inode.FileType(n.Mode))}, name)
}
