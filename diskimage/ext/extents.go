// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// extentTreeBlocks returns the number of blocks in a tree with this number of extents, without the root in
// the inode.
func extentTreeBlocks(extents int) int {
	sum := 0
	for n := extents; n > disk.ExtentsInInode; {
		n = (n + disk.ExtentsInBlock - 1) / disk.ExtentsInBlock
		sum += n
	}
	return sum
}

// extentTree encodes the extent tree of a file, from the leaves up. It returns i_block and passes
// each other node to emit. Nodes are full, except the last of each level.
func (c checksums) extentTree(inode uint32, m mapping, emit func(block uint64) []byte) (root [disk.BlockField]byte) {
	if len(m.runs) <= disk.ExtentsInInode { // nearly all files
		putExtents(root[disk.ExtentEntrySize:], m.runs)
		putExtentHeader(root[:], len(m.runs), disk.ExtentsInInode, 0)
		return root
	}
	entries := make([]byte, len(m.runs)*disk.ExtentEntrySize)
	putExtents(entries, m.runs)
	firsts := make([]uint32, len(m.runs)) // first block in the file of each entry
	for i, r := range m.runs {
		firsts[i] = r.logical
	}
	tree := m.tree
	depth := uint16(0)
	for ; len(firsts) > disk.ExtentsInInode; depth++ {
		var above []byte
		var aboveFirsts []uint32
		for node := range slices.Chunk(entries, disk.ExtentsInBlock*disk.ExtentEntrySize) {
			block := emit(uint64(tree[0]))
			putExtentNode(block, node, disk.ExtentsInBlock, depth)
			if c.metaCsum() {
				putUint32(block[disk.ExtentTail:], c.sums.InodeBlock(inode, generation, block[:disk.ExtentTail]))
			}
			first := firsts[len(aboveFirsts)*disk.ExtentsInBlock]
			entry := make([]byte, disk.ExtentEntrySize)
			disk.Put(entry, disk.ExtentIndex{Block: first, LeafLo: tree[0]})
			above = append(above, entry...)
			aboveFirsts = append(aboveFirsts, first)
			tree = tree[1:]
		}
		entries, firsts = above, aboveFirsts
	}
	putExtentNode(root[:], entries, disk.ExtentsInInode, depth)
	return root
}

// putExtents writes the entries of leaves.
func putExtents(dst []byte, runs []run) {
	for i, r := range runs {
		disk.Extent{Block: r.logical, Length: uint16(r.count), StartLo: r.block}.Put(dst[i*disk.ExtentEntrySize:])
	}
}

// putExtentNode writes one node.
func putExtentNode(dst, entries []byte, limit int, depth uint16) {
	putExtentHeader(dst, len(entries)/disk.ExtentEntrySize, limit, depth)
	copy(dst[disk.ExtentEntrySize:], entries)
}

// putExtentHeader writes the header of a node.
func putExtentHeader(dst []byte, entries, limit int, depth uint16) {
	disk.ExtentHeader{Magic: disk.ExtentMagic, Entries: uint16(entries), Max: uint16(limit), Depth: depth}.Put(dst)
}
