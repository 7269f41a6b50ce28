// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// run is a number of blocks of a file that are in order on the disk.
type run struct {
	logical uint32 // first block in the file
	block   uint32 // first block on the disk
	count   uint32 // at most disk.MaxExtentLength
}

// allocator gives out blocks in ascending order, around the fixed metadata. A block is therefore in use exactly if
// it is below next or fixed. It goes on counting when the file system is full.
type allocator struct {
	geometry
	group uint32 // where to look next
	next  uint64
	taken uint64
}

func newAllocator(g geometry) *allocator {
	return &allocator{geometry: g, next: g.fixed(0).end}
}

// full reports whether more was taken than there is; the blocks given out are then of no use.
func (a *allocator) full() bool { return a.taken > a.available() }

// available is the number of blocks for everything but the fixed metadata.
func (a *allocator) available() uint64 { return a.blocks - a.overhead() }

// take gives the next blocks in order, at most n.
func (a *allocator) take(n uint64) (block, count uint32) {
	for a.group < a.groups && a.next >= a.end(a.group) {
		if a.group++; a.group < a.groups {
			a.next = a.fixed(a.group).end
		}
	}
	if a.group < a.groups {
		n = min(n, a.end(a.group)-a.next, disk.MaxExtentLength)
		block = uint32(a.next)
		a.next += n
	}
	a.taken += n
	return block, uint32(n)
}

// single gives one block.
func (a *allocator) single() uint32 {
	block, _ := a.take(1)
	return block
}

// mapping says where the blocks of a file are.
type mapping struct {
	runs []run    // ascending in the file and on the disk
	tree []uint32 // blocks that hold the mapping itself: nodes of the extent tree, or indirect blocks
}

// place gives blocks to the spans of a file, and then to what maps them.
func (a *allocator) place(spans []inode.Span, extents bool) mapping {
	var m mapping
	for _, s := range spans {
		for s.Start < s.End {
			block, count := a.take(s.End - s.Start)
			m.add(run{uint32(s.Start), block, count})
			s.Start += uint64(count)
		}
	}
	treeBlocks := extentTreeBlocks(len(m.runs))
	if !extents {
		treeBlocks = len(pointerNodes(m.runs))
	}
	for range treeBlocks {
		m.tree = append(m.tree, a.single())
	}
	return m
}

// add appends a run, or lengthens the last one where group follows group.
func (m *mapping) add(r run) {
	if last := len(m.runs) - 1; last >= 0 {
		l := &m.runs[last]
		if l.logical+l.count == r.logical && l.block+l.count == r.block && l.count+r.count <= disk.MaxExtentLength {
			l.count += r.count
			return
		}
	}
	m.runs = append(m.runs, r)
}

// dataBlocks is the number of blocks that hold data.
func (m *mapping) dataBlocks() uint64 {
	var sum uint64
	for _, r := range m.runs {
		sum += uint64(r.count)
	}
	return sum
}

// at gives the place of one block of a file without holes.
func (m *mapping) at(logical uint32) uint64 {
	i, found := slices.BinarySearchFunc(m.runs, logical, func(r run, logical uint32) int {
		return int(int64(r.logical) - int64(logical))
	})
	if !found {
		i--
	}
	return uint64(m.runs[i].block) + uint64(logical-m.runs[i].logical)
}
