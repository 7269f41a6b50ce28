// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// Formatter plans file systems of the types ext2, ext3 and ext4. Its zero value is ready for use.
type Formatter struct{}

var _ diskimage.Formatter = Formatter{}

// Plan lays out the file system. Its errors are *diskimage.NoSpaceError, and those that name an
// entry of the tree that the format cannot hold.
func (Formatter) Plan(size diskimage.Size, fs diskimage.Filesystem, tree diskimage.Tree) (diskimage.Volume, error) {
	p, err := newParameters(fs)
	if err != nil {
		return nil, err
	}
	g, err := newGeometry(p.features, size)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", fs.Type, size, err)
	}
	if p.journal() && g.journalBlocks == 0 {
		if fs.Type == "ext3" { // without a journal it would be ext2, which no kernel mounts as ext3
			return nil, fmt.Errorf("ext3 in %s: journal: %w", size, noBlocks(minJournaledBlocks, g.blocks))
		}
		p.features = p.withoutJournal()
	}
	inv, err := newInventory(p, tree)
	if err != nil {
		return nil, err
	}
	v, err := newVolume(p, g, inv)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", fs.Type, size, err)
	}
	return v, nil
}

// volume is a planned file system.
type volume struct {
	parameters
	geometry
	*inventory
	resize  *node // resize_inode, whose mapping is special
	journal *node // nil without a journal
	orphans *node // nil without an orphan file

	doubleBlock uint32 // the double indirect block of the resize inode
	next        uint64 // first free block, except fixed metadata
	freeBlocks  uint64
}

// newVolume allocates all blocks: first directories, which are read at boot and by every search,
// then the journal while large contiguous ranges are free, then files in the order of the tree.
func newVolume(p parameters, g geometry, inv *inventory) (*volume, error) {
	v := &volume{parameters: p, geometry: g, inventory: inv}
	a := newAllocator(g)
	v.resize = p.hiddenFile(disk.InodeResize, resizeFileBlocks)
	v.doubleBlock = a.single()
	for _, dir := range inv.dirs {
		dir.mapping = a.allocate(dir.spans(), p.extents())
	}
	for _, block := range inv.xattrBlocks {
		block.block = a.single()
	}
	for _, n := range inv.nodes {
		if n != nil && n.Type() == unix.S_IFLNK {
			n.mapping = a.allocate(n.spans(), p.extents())
		}
	}
	if g.journalBlocks > 0 {
		v.journal = p.hiddenFile(disk.InodeJournal, uint64(g.journalBlocks))
		v.journal.mapping = a.allocate(v.journal.spans(), p.extents())
	}
	if g.orphanBlocks > 0 {
		v.orphans = p.hiddenFile(orphanInode, uint64(g.orphanBlocks))
		v.orphans.mapping = a.allocate(v.orphans.spans(), p.extents())
	}
	for _, n := range inv.nodes {
		if n != nil && n.Type() == unix.S_IFREG {
			n.mapping = a.allocate(n.spans(), p.extents())
		}
	}
	if a.full() {
		return nil, noBlocks(a.taken, a.available())
	}
	if needed := uint64(inv.lastInode()); needed > g.inodes() {
		return nil, &diskimage.NoSpaceError{What: "inodes", Needed: needed, Available: g.inodes()}
	}
	v.next = a.next
	v.freeBlocks = a.available() - a.taken
	return v, nil
}

// orphanInode is the inode of the orphan file: the first free one, as in mke2fs.
const orphanInode = disk.FirstInode + 1

// hiddenFile returns a file that is in no directory.
func (p parameters) hiddenFile(number uint32, blocks uint64) *node {
	const ownerOnly = 0o600
	return &node{
		Inode:  inode.Inode{Mode: unix.S_IFREG | ownerOnly, Size: int64(blocks * disk.BlockSize)},
		number: number,
		mtime:  p.time,
		links:  1,
	}
}

// inode returns the node with a number, or nil if the inode is unused.
func (v *volume) inode(number uint32) *node {
	switch {
	case number == disk.InodeRoot:
		return v.root
	case number == disk.InodeResize:
		return v.resize
	case number == disk.InodeJournal:
		return v.journal
	case number == orphanInode && v.orphans != nil:
		return v.orphans
	case number < disk.FirstInode:
		return nil
	}
	return v.nodes[number-disk.FirstInode]
}

// Extents implements diskimage.Volume.
func (v *volume) Extents(name string) ([]diskimage.Extent, error) {
	n := v.byName[name]
	if n == nil || n.Type() != unix.S_IFREG {
		return nil, inode.NotFound(name)
	}
	var extents []diskimage.Extent
	for _, r := range n.mapping.runs {
		e := diskimage.Extent{
			Offset: int64(r.block) * disk.BlockSize,
			Length: min(int64(r.count)*disk.BlockSize, n.Size-int64(r.logical)*disk.BlockSize),
		}
		if last := len(extents) - 1; last >= 0 && extents[last].Offset+extents[last].Length == e.Offset {
			extents[last].Length += e.Length
		} else {
			extents = append(extents, e)
		}
	}
	return extents, nil
}
