// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// run is a sequence of blocks of a file that are contiguous on the disk.
type run struct {
	logical uint32 // first block in the file
	block   uint32 // first block on the disk
	count   uint32 // at most disk.MaxExtentLength
}

// allocator allocates blocks in ascending order, around the fixed metadata. So a block is in use if
// and only if it is below next or part of the fixed metadata. It keeps counting when the file
// system is full.
type allocator struct {
	geometry
	group uint32 // where to continue
	next  uint64
	taken uint64
}

func newAllocator(g geometry) *allocator {
	return &allocator{geometry: g, next: g.fixed(0).end}
}

// full reports whether more blocks were taken than exist, in which case the allocations are
// invalid.
func (a *allocator) full() bool { return a.taken > a.available() }

// available returns the number of blocks for everything but the fixed metadata.
func (a *allocator) available() uint64 { return a.blocks - a.overhead() }

// take allocates up to n contiguous blocks.
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

// single allocates one block.
func (a *allocator) single() uint32 {
	block, _ := a.take(1)
	return block
}

// mapping says where the blocks of a file are.
type mapping struct {
	runs []run    // ascending in the file and on the disk
	tree []uint32 // blocks that hold the mapping itself: nodes of the extent tree, or indirect blocks
}

// allocate allocates blocks for the spans of a file, and then for the mapping itself.
func (a *allocator) allocate(spans []inode.Span, extents bool) mapping {
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

// add appends a run, or extends the last one across the border of two groups.
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

// dataBlocks returns the number of blocks that hold data.
func (m *mapping) dataBlocks() uint64 {
	var sum uint64
	for _, r := range m.runs {
		sum += uint64(r.count)
	}
	return sum
}

// at returns the location of one block of a file without holes.
func (m *mapping) at(logical uint32) uint64 {
	i, found := slices.BinarySearchFunc(m.runs, logical, func(r run, logical uint32) int {
		return int(int64(r.logical) - int64(logical))
	})
	if !found {
		i--
	}
	return uint64(m.runs[i].block) + uint64(logical-m.runs[i].logical)
}
