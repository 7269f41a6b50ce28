// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// inventory is the part of the plan that does not depend on the size of the file system.
type inventory struct {
	nodes  []*node          // by inode number, from disk.InodeRoot on
	byName map[string]*node // each name of the tree
	last   uint32           // highest node number in use
	counts [disk.Logs]uint64
}

// newInventory reads a tree and assigns node numbers and the content of directories.
func newInventory(tree diskimage.Tree) (*inventory, error) {
	inv := &inventory{}
	var err error
	if inv.byName, err = inode.Read(tree, disk.MaxNameLength, inv); err != nil {
		return nil, fmt.Errorf("read the tree for %s: %w", Type, err)
	}
	inv.last = disk.InodeRoot - 1 + uint32(len(inv.nodes))
	for _, n := range inv.nodes {
		if err := inv.complete(n); err != nil {
			return nil, fmt.Errorf("%q: %w", n.Name, err)
		}
	}
	return inv, nil
}

// complete assigns the blocks and nodes of a node, which depend on the whole content of a
// directory.
func (inv *inventory) complete(n *node) error {
	if n.dir != nil {
		if err := n.dir.pack(); err != nil {
			return err
		}
	}
	n.inline = n.inlineFlags()
	n.spans = n.allSpans()
	n.extras = extraNodes(n.spans)
	if len(n.xattrs)+disk.XattrEnd > disk.InlineXattrSize {
		n.extras = append(n.extras, extra{kind: xattrNode, offset: disk.XattrNodeOffset, parent: parentInode})
	}
	inv.counts[n.nodeLog()]++
	inv.counts[n.dataLog()] += inode.CountBlocks(n.spans)
	for i := range n.extras {
		inv.last++
		n.extras[i].number = inv.last
		inv.counts[n.extraLog(n.extras[i])]++
	}
	return nil
}

// nodeLog returns the log of the inode, of direct nodes and of extended attributes (__get_segment_type_6 in
// fs/f2fs/segment.c).
func (n *node) nodeLog() disk.Log {
	if n.dir != nil {
		return disk.HotNode
	}
	return disk.WarmNode
}

func (n *node) extraLog(e extra) disk.Log {
	if e.kind == indirectNode {
		return disk.ColdNode
	}
	return n.nodeLog()
}

// dataLog returns the log of data. Names that mark files as cold, such as those of films, are
// ignored.
func (n *node) dataLog() disk.Log {
	if n.dir != nil {
		return disk.HotData
	}
	return disk.WarmData
}

// Root implements inode.Writer.
func (inv *inventory) Root(e *diskimage.Entry, _ map[string]*node) (*node, error) {
	root, err := newNode(e)
	if err != nil {
		return nil, err
	}
	inv.enter(root, root)
	root.links = 2
	return root, nil
}

// New implements inode.Writer.
func (inv *inventory) New(e *diskimage.Entry, dir *node, base string) (*node, error) {
	n, err := newNode(e)
	if err != nil {
		return nil, err
	}
	inv.enter(n, dir)
	dir.dir.entries = append(dir.dir.entries, dirEntry{base, n})
	return n, nil
}

// Link implements inode.Writer.
func (inv *inventory) Link(n, dir *node, base string) {
	n.links++
	dir.dir.entries = append(dir.dir.entries, dirEntry{base, n})
}

// Again implements inode.Writer.
func (inv *inventory) Again(e *diskimage.Entry, _ *node) error { return inode.Twice(e) }

// enter assigns a node its number and its directory.
func (inv *inventory) enter(n, parent *node) {
	n.number = disk.InodeRoot + uint32(len(inv.nodes))
	n.parent = parent
	inv.nodes = append(inv.nodes, n)
	if n.dir != nil {
		n.dir.parent = parent
		parent.links++
	}
}

// newNode makes a node from an entry.
func newNode(e *diskimage.Entry) (*node, error) {
	i, err := inode.New(e, Type, maxBlocks)
	if err != nil {
		return nil, err
	}
	n := &node{Inode: i, mtime: newStamp(e.ModTime), links: 1}
	if n.xattrs, err = encodeXattrs(e.Xattrs); err != nil {
		return nil, err
	}
	if n.Type() == unix.S_IFDIR {
		n.links = 2
		n.dir = &directory{self: n}
	}
	return n, nil
}
