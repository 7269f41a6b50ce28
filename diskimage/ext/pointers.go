// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// Without extents, twelve block numbers in the inode map a file, and then trees of indirect blocks
// of one, two and three levels. The lowest indirect blocks are called leaves here and are numbered:
// leaf 0 is the whole single indirect tree, leaves 1 to 1024 belong to the double indirect tree,
// and the others to the triple one.

// leavesPerNode is the number of leaves below a block that points to leaves.
const leavesPerNode = disk.PointersPerBlock

// firstTripleLeaf is the first leaf of the triple indirect tree.
const firstTripleLeaf = 1 + leavesPerNode

// pointerNode is an indirect block.
type pointerNode struct {
	kind  pointerKind
	index uint32 // of leaves, or of the middle blocks that only the triple indirect tree has
}

type pointerKind uint8

const (
	pointerLeaf pointerKind = iota
	pointerMiddle
	pointerDouble // root of the double indirect tree
	pointerTriple // root of the triple indirect tree
)

// pointerLeaves returns the leaves that a file needs, in ascending order.
func pointerLeaves(runs []run) []uint32 {
	var leaves []uint32
	for _, r := range runs {
		end := uint64(r.logical) + uint64(r.count)
		if end <= disk.DirectBlocks {
			continue
		}
		first := (max(uint64(r.logical), disk.DirectBlocks) - disk.DirectBlocks) / disk.PointersPerBlock
		last := (end - 1 - disk.DirectBlocks) / disk.PointersPerBlock
		if n := len(leaves); n > 0 && first == uint64(leaves[n-1]) {
			first++
		}
		for leaf := first; leaf <= last; leaf++ {
			leaves = append(leaves, uint32(leaf))
		}
	}
	return leaves
}

// pointerNodes returns the indirect blocks of a file in their order on the disk: leaves first,
// roots last.
func pointerNodes(runs []run) []pointerNode {
	var nodes, middle, roots []pointerNode
	for _, index := range pointerLeaves(runs) {
		leaf := pointerNode{pointerLeaf, index}
		nodes = append(nodes, leaf)
		for n, ok := leaf.parent(); ok; n, ok = n.parent() {
			switch {
			case n.kind == pointerMiddle && !slices.Contains(middle[max(0, len(middle)-1):], n):
				middle = append(middle, n)
			case n.kind != pointerMiddle && !slices.Contains(roots, n):
				roots = append(roots, n)
			}
		}
	}
	return slices.Concat(nodes, middle, roots)
}

// pointers encodes the block map of a file. It returns i_block and passes each indirect block to
// emit.
func pointers(m mapping, emit func(block uint64) []byte) (root [disk.BlockField]byte) {
	nodes := pointerNodes(m.runs)
	runs := m.runs
	for len(runs) > 0 && runs[0].logical < disk.DirectBlocks {
		r := runs[0]
		for i := r.logical; i < min(r.logical+r.count, disk.DirectBlocks); i++ {
			putUint32(root[4*i:], r.block+i-r.logical)
		}
		if r.logical+r.count > disk.DirectBlocks {
			break
		}
		runs = runs[1:]
	}
	children := map[pointerNode][]pointerNode{}
	numbers := map[pointerNode]uint32{}
	for i, n := range nodes {
		numbers[n] = m.tree[i]
		if parent, ok := n.parent(); ok {
			children[parent] = append(children[parent], n)
		} else {
			putUint32(root[4*n.slot():], m.tree[i])
		}
	}
	for _, n := range nodes {
		block := emit(uint64(numbers[n]))
		if n.kind == pointerLeaf {
			runs = putPointers(block, n, runs)
		}
		for _, child := range children[n] {
			putUint32(block[4*child.slot():], numbers[child])
		}
	}
	return root
}

// putPointers fills a leaf from runs and returns the runs that extend beyond it.
func putPointers(block []byte, leaf pointerNode, runs []run) []run {
	start := disk.DirectBlocks + uint64(leaf.index)*disk.PointersPerBlock
	end := start + disk.PointersPerBlock
	for len(runs) > 0 && uint64(runs[0].logical) < end {
		r := runs[0]
		runEnd := uint64(r.logical) + uint64(r.count)
		for l := max(start, uint64(r.logical)); l < min(end, runEnd); l++ {
			putUint32(block[4*(l-start):], r.block+uint32(l-uint64(r.logical)))
		}
		if runEnd > end {
			break
		}
		runs = runs[1:]
	}
	return runs
}

// parent returns the indirect block that points to n, or false if the inode does.
func (n pointerNode) parent() (pointerNode, bool) {
	switch {
	case n.kind == pointerLeaf && n.index >= firstTripleLeaf:
		return pointerNode{pointerMiddle, (n.index - firstTripleLeaf) / leavesPerNode}, true
	case n.kind == pointerLeaf && n.index >= 1:
		return pointerNode{pointerDouble, 0}, true
	case n.kind == pointerMiddle:
		return pointerNode{pointerTriple, 0}, true
	}
	return pointerNode{}, false
}

// slot returns the position of n in its parent, which is another indirect block or i_block.
func (n pointerNode) slot() uint32 {
	switch n.kind {
	case pointerMiddle:
		return n.index
	case pointerDouble:
		return disk.DoubleInd
	case pointerTriple:
		return disk.TripleInd
	}
	switch {
	case n.index == 0:
		return disk.Indirect
	case n.index < firstTripleLeaf:
		return n.index - 1
	}
	return (n.index - firstTripleLeaf) % leavesPerNode
}
