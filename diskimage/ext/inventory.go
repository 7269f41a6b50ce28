// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// Limits of the formats.
const (
	maxNameLength = disk.MaxNameLength
	// maxLinks is EXT4_LINK_MAX. Directories may have more with dir_nlink.
	maxLinks = 65000
	// maxLinksOld is EXT2_LINK_MAX, the limit of the kernel's own ext2 driver. It applies to ext2
	// and ext3.
	maxLinksOld = 32000
	// maxFileBlocks is the largest number of blocks in a file mapped by extents.
	maxFileBlocks = math.MaxUint32
	// maxFileBlocksOld is the limit of i_blocks without huge_file: 2^32 sectors, indirect blocks
	// included.
	maxFileBlocksOld = math.MaxUint32/disk.SectorsPerBlock - 1<<20
)

const lostAndFound = "lost+found"

// lostAndFoundBlocks is the size of lost+found made by mke2fs, so that e2fsck does not have to
// allocate blocks when it finds files without a name.
const lostAndFoundBlocks = 4

// inventory is the part of the plan that does not depend on the size of the file system.
type inventory struct {
	p           parameters
	root        *node
	nodes       []*node                // by inode number, from disk.FirstInode on; nil for the orphan file
	dirs        []*node                // in the order of the tree, the root first
	byName      map[string]*node       // each name of the tree
	xattrBlocks []*xattrBlock          // in the order of their first use
	shareable   map[string]*xattrBlock // by content, those with room for one more inode
}

// newInventory reads a tree and assigns inode numbers and the content of directories.
func newInventory(p parameters, tree diskimage.Tree) (*inventory, error) {
	inv := &inventory{p: p, shareable: map[string]*xattrBlock{}}
	var err error
	if inv.byName, err = inode.Read(tree, maxNameLength, inv); err != nil {
		return nil, fmt.Errorf("read the tree for %s: %w", p.fsType, err)
	}
	for _, dir := range inv.dirs {
		if err := dir.dir.pack(p); err != nil {
			return nil, fmt.Errorf("directory %q: %w", dir.Name, err)
		}
	}
	return inv, inv.checkLinks(p)
}

// New implements inode.Writer.
func (inv *inventory) New(e *diskimage.Entry, dir *node, base string) (*node, error) {
	n, err := inv.node(e)
	if err == nil {
		inv.enter(n, dir, base)
	}
	return n, err
}

// Link implements inode.Writer.
func (inv *inventory) Link(n, dir *node, base string) {
	n.links++
	dir.dir.add(base, n)
}

// node makes a node from an entry.
func (inv *inventory) node(e *diskimage.Entry) (*node, error) {
	n, err := newNode(inv.p, e)
	if err == nil {
		err = inv.setXattrs(n, e.Xattrs)
	}
	return n, err
}

// Root implements inode.Writer. It also creates lost+found, which has a fixed inode.
func (inv *inventory) Root(e *diskimage.Entry, names map[string]*node) (*node, error) {
	root, err := inv.node(e)
	if err != nil {
		return nil, err
	}
	root.number = disk.InodeRoot
	root.dir.parent = root
	inv.root = root
	inv.dirs = append(inv.dirs, root)

	const ownerOnly = 0o700
	lost := &node{
		Inode: inode.Inode{Name: lostAndFound, Mode: unix.S_IFDIR | ownerOnly}, mtime: inv.p.time, links: 2,
	}
	lost.dir = &directory{self: lost, minBlocks: lostAndFoundBlocks}
	inv.enter(lost, root, lostAndFound)
	names[lostAndFound] = lost
	if inv.p.orphanFile() {
		inv.nodes = append(inv.nodes, nil) // for the orphan file: mke2fs uses the same inode
	}
	return root, nil
}

// Again implements inode.Writer: it copies the metadata of lost+found from the tree.
func (inv *inventory) Again(e *diskimage.Entry, n *node) error {
	switch {
	case e.Name != lostAndFound || n.dir == nil || n.dir.inTree:
		return inode.Twice(e)
	case e.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%q is not a directory, which e2fsck needs", e.Name)
	}
	n.dir.inTree = true
	n.Mode, n.UID, n.GID, n.mtime = e.Mode, e.UID, e.GID, newStamp(e.ModTime)
	if err := inv.setXattrs(n, e.Xattrs); err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	return nil
}

// enter assigns a node its number and adds it to a directory.
func (inv *inventory) enter(n, parent *node, base string) {
	n.number = disk.FirstInode + uint32(len(inv.nodes))
	inv.nodes = append(inv.nodes, n)
	parent.dir.add(base, n)
	if n.dir != nil {
		n.dir.parent = parent
		parent.links++
		inv.dirs = append(inv.dirs, n)
	}
}

// setXattrs sets the extended attributes of a node. Inodes with equal attributes share a block.
func (inv *inventory) setXattrs(n *node, list []diskimage.Xattr) error {
	if len(list) == 0 {
		return nil
	}
	inline, block, err := encodeXattrs(list)
	if err != nil {
		return err
	}
	n.inline = inline
	if block == nil {
		return nil
	}
	shared := inv.shareable[string(block)]
	if shared == nil || shared.refcount == disk.XattrMaxRefcount {
		shared = &xattrBlock{content: block}
		inv.shareable[string(block)] = shared
		inv.xattrBlocks = append(inv.xattrBlocks, shared)
	}
	shared.refcount++
	n.shared = shared
	return nil
}

// lastInode returns the highest inode number in use.
func (inv *inventory) lastInode() uint32 { return disk.FirstInode - 1 + uint32(len(inv.nodes)) }

// checkLinks rejects nodes with more links than the format can count.
func (inv *inventory) checkLinks(p parameters) error {
	limit := maxLinks
	if !p.dirNlink() {
		limit = maxLinksOld
	}
	check := func(n *node) error {
		if n == nil || n.links <= limit || n.dir != nil && p.dirNlink() {
			return nil
		}
		return fmt.Errorf("%q: %d links: the maximum on %s is %d", n.Name, n.links, p.fsType, limit)
	}
	for _, n := range inv.nodes {
		if err := check(n); err != nil {
			return err
		}
	}
	return check(inv.root)
}

// newNode makes a node without extended attributes from an entry.
func newNode(p parameters, e *diskimage.Entry) (*node, error) {
	limit := uint64(maxFileBlocks)
	if !p.extents() {
		limit = maxFileBlocksOld
	}
	i, err := inode.New(e, p.fsType, limit)
	n := &node{Inode: i, mtime: newStamp(e.ModTime), links: 1}
	if n.Type() == unix.S_IFDIR {
		n.links = 2
		n.dir = &directory{self: n}
	}
	return n, err
}
