// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// directory is the content of a directory: a single block of entries, or a tree of blocks hashed by name.
type directory struct {
	self, parent *node
	entries      []dirEntry
	minBlocks    int
	inTree       bool // only for lost+found: it is in the tree as well

	// leaves are the ends, in entries, of the blocks that hold entries. A directory with a single
	// leaf has no index.
	leaves []int
	// nodes is the number of index blocks between the root of the index and the leaves.
	nodes int
}

// dirEntry is one name.
type dirEntry struct {
	name string
	node *node
	hash uint32
}

func (d *directory) add(name string, n *node) {
	d.entries = append(d.entries, dirEntry{name: name, node: n})
}

// hashed reports whether the directory has an index (InodeIndex).
func (d *directory) hashed() bool { return len(d.leaves) > 1 }

// blocks returns the number of blocks: the root of the index, its nodes and the leaves, or the only
// block.
func (d *directory) blocks() int {
	if !d.hashed() {
		return max(1, d.minBlocks)
	}
	return 1 + d.nodes + len(d.leaves)
}

// dirEntrySize returns the room that a name needs.
func dirEntrySize(name string) int { return disk.DirHeaderSize + align4(len(name)) }

// dirRoom returns the number of bytes of a block that entries can use.
func (p parameters) dirRoom() int {
	if p.metaCsum() {
		return disk.BlockSize - disk.DirTailSize
	}
	return disk.BlockSize
}

// indexLimit returns the number of index entries that fit into a block after offset.
func (p parameters) indexLimit(offset int) int {
	room := disk.BlockSize - offset
	if p.metaCsum() {
		room -= disk.DxTailSize
	}
	return room / disk.DxEntrySize
}

// dotsSize is the size of the entries "." and "..".
const dotsSize = 2 * (disk.DirHeaderSize + 4)

// pack distributes the entries over blocks.
func (d *directory) pack(p parameters) error {
	total := dotsSize
	for i := range d.entries {
		total += dirEntrySize(d.entries[i].name)
	}
	if total <= p.dirRoom() {
		d.leaves = []int{len(d.entries)}
		return nil
	}
	for i := range d.entries {
		d.entries[i].hash = p.hashSeed.dirHash(d.entries[i].name)
	}
	slices.SortFunc(d.entries, func(a, b dirEntry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name))
	})
	d.packLeaves(p.dirRoom())
	if len(d.leaves) == 1 {
		// The entries fit into one leaf, because "." and ".." are in the root of the index. Split
		// it, because a single leaf means "no index" here.
		d.leaves = []int{len(d.entries) / 2, len(d.entries)}
	}
	rootLimit, nodeLimit := p.indexLimit(disk.DxRootEntries), p.indexLimit(disk.DxNodeEntries)
	if len(d.leaves) > rootLimit {
		d.nodes = (len(d.leaves) + nodeLimit - 1) / nodeLimit
	}
	if d.nodes > rootLimit {
		return fmt.Errorf("%d names are more than an index of two levels can hold", len(d.entries))
	}
	return nil
}

// packLeaves fills leaves to 85 %, so that the first new name in the running system does not split
// one. Names with the same hash stay together while they fit into the block.
func (d *directory) packLeaves(room int) {
	const fill = 85
	used := 0
	for i, e := range d.entries {
		size := dirEntrySize(e.name)
		limit := room * fill / 100
		if i > 0 && e.hash == d.entries[i-1].hash {
			limit = room
		}
		if i > 0 && used+size > limit {
			d.leaves = append(d.leaves, i)
			used = 0
		}
		used += size
	}
	d.leaves = append(d.leaves, len(d.entries))
}

// leaf returns the entries of a leaf.
func (d *directory) leaf(i int) []dirEntry {
	start := 0
	if i > 0 {
		start = d.leaves[i-1]
	}
	return d.entries[start:d.leaves[i]]
}

// leafHash returns the lowest hash in a leaf. The lowest bit means that the last hash of the
// previous leaf continues in this one.
func (d *directory) leafHash(i int) uint32 {
	first := d.leaf(i)[0].hash
	if i > 0 && d.entries[d.leaves[i-1]-1].hash == first {
		return first | 1
	}
	return first
}

// dirWriter encodes the blocks of one directory.
type dirWriter struct {
	parameters
	*directory
}

// block encodes one block into dst, which is zero.
func (w dirWriter) block(index int, dst []byte) {
	switch {
	case !w.hashed() && index == 0:
		w.putLeaf(dst, w.entries, true)
	case !w.hashed():
		w.putLeaf(dst, nil, false)
	case index == 0:
		w.putRoot(dst)
	case index <= w.nodes:
		w.putNode(dst, index-1)
	default:
		w.putLeaf(dst, w.leaf(index-1-w.nodes), false)
	}
}

// putLeaf writes entries; the last one extends to the end of the block.
func (w dirWriter) putLeaf(dst []byte, entries []dirEntry, dots bool) {
	room := w.dirRoom()
	offset := 0
	if dots {
		offset = w.putDots(dst, dotsSize/2)
		if len(entries) == 0 {
			w.putDots(dst, room-dotsSize/2)
		}
	}
	if !dots && len(entries) == 0 {
		disk.DirHeader{RecLen: uint16(room)}.Put(dst)
	}
	for i, e := range entries {
		length := dirEntrySize(e.name)
		if i == len(entries)-1 {
			length = room - offset
		}
		putDirEntry(dst[offset:], e.name, e.node, length)
		offset += length
	}
	if w.metaCsum() {
		tail := dst[room:]
		disk.DirHeader{RecLen: disk.DirTailSize, Type: disk.TypeChecksum}.Put(tail)
		putUint32(tail[disk.DirHeaderSize:], w.sums.InodeBlock(w.self.number, generation, dst[:room]))
	}
}

// putDots writes the entries "." and "..", the second one with the given length, and returns the
// offset of their end.
func (w dirWriter) putDots(dst []byte, secondLength int) int {
	putDirEntry(dst, ".", w.self, dotsSize/2)
	putDirEntry(dst[dotsSize/2:], "..", w.parent, secondLength)
	return dotsSize/2 + secondLength
}

// putDirEntry writes one entry.
func putDirEntry(dst []byte, name string, n *node, length int) {
	disk.DirHeader{
		Inode:      n.number,
		RecLen:     uint16(length),
		NameLength: uint8(len(name)),
		Type:       disk.FileType(inode.FileType(n.Mode)),
	}.Put(dst)
	copy(dst[disk.DirHeaderSize:], name)
}

// putRoot writes block 0 of an indexed directory: a driver without dir_index sees a block with two
// entries.
func (w dirWriter) putRoot(dst []byte) {
	w.putDots(dst, disk.BlockSize-dotsSize/2)
	info := disk.DxRootInfo{HashVersion: disk.HashHalfMD4, InfoLength: disk.DxRootInfoSize}
	var index []disk.DxEntry
	if w.nodes == 0 {
		index = w.indexLeaves(0, len(w.leaves))
	} else {
		info.Levels = 1
		for i := range w.nodes {
			first, _ := w.nodeLeaves(i)
			index = append(index, disk.DxEntry{Hash: w.leafHash(first), Block: uint32(1 + i)})
		}
	}
	disk.Put(dst[disk.DxRootOffset:], info)
	w.putIndex(dst, disk.DxRootEntries, index)
}

// putNode writes an index block below the root: a driver without dir_index sees an empty block.
func (w dirWriter) putNode(dst []byte, i int) {
	disk.DirHeader{RecLen: disk.BlockSize}.Put(dst)
	w.putIndex(dst, disk.DxNodeEntries, w.indexLeaves(w.nodeLeaves(i)))
}

// nodeLeaves returns the range of the leaves of an index block. All blocks have nearly the same
// number of leaves.
func (w dirWriter) nodeLeaves(i int) (first, end int) {
	return i * len(w.leaves) / w.nodes, (i + 1) * len(w.leaves) / w.nodes
}

// indexLeaves returns the index entries of leaves.
func (w dirWriter) indexLeaves(first, end int) []disk.DxEntry {
	var index []disk.DxEntry
	for i := first; i < end; i++ {
		index = append(index, disk.DxEntry{Hash: w.leafHash(i), Block: uint32(1 + w.nodes + i)})
	}
	return index
}

// putIndex writes index entries and their checksum, which covers only the entries in use.
func (w dirWriter) putIndex(dst []byte, offset int, index []disk.DxEntry) {
	limit := w.indexLimit(offset)
	end := offset
	for _, e := range index {
		disk.Put(dst[end:], e)
		end += disk.DxEntrySize
	}
	disk.Put(dst[offset:], disk.DxCount{Limit: uint16(limit), Count: uint16(len(index))})
	if w.metaCsum() {
		tail := dst[offset+limit*disk.DxEntrySize:]
		crc := w.sums.IndexBlock(w.self.number, generation, dst[:end])
		putUint32(tail[disk.DxTailSize-4:], crc)
	}
}
