package ext

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// extentTreeBlocks is the number of blocks, beside the root in the inode, of the tree of so many extents.
func extentTreeBlocks(extents int) int {
	sum := 0
	for n := extents; n > disk.ExtentsInInode; {
		n = (n + disk.ExtentsInBlock - 1) / disk.ExtentsInBlock
		sum += n
	}
	return sum
}

// extentTree encodes the extent tree of a file, from the leaves up. It returns i_block and hands each other node to
// emit. Nodes are full, but for the last of each level.
func (c checksums) extentTree(inode uint32, m mapping, emit func(block uint64) []byte) (root [disk.BlockField]byte) {
	entries := make([]byte, 0, len(m.runs)*disk.ExtentEntrySize)
	firsts := make([]uint32, 0, len(m.runs)) // first block in the file of each entry
	for _, r := range m.runs {
		entries = slices.Grow(entries, disk.ExtentEntrySize)
		entries = entries[:len(entries)+disk.ExtentEntrySize]
		disk.Put(entries[len(entries)-disk.ExtentEntrySize:], disk.Extent{
			Block: r.logical, Length: uint16(r.count), StartLo: r.block,
		})
		firsts = append(firsts, r.logical)
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
				putUint32(block[disk.ExtentTail:], crc32c(c.ofInode(inode), block[:disk.ExtentTail]))
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

// putExtentNode writes one node.
func putExtentNode(dst, entries []byte, limit int, depth uint16) {
	disk.Put(dst, disk.ExtentHeader{
		Magic:   disk.ExtentMagic,
		Entries: uint16(len(entries) / disk.ExtentEntrySize),
		Max:     uint16(limit),
		Depth:   depth,
	})
	copy(dst[disk.ExtentEntrySize:], entries)
}
