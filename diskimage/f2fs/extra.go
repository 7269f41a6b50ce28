// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// extra is a node of a file other than its inode. Other nodes point to it by its number in the NAT.
type extra struct {
	kind   nodeKind
	offset uint32 // of the node in the file's node tree, for the footer
	parent int32  // index in node.extras, or parentInode
	slot   uint32 // of the pointer in the parent
	first  uint64 // of a direct node: the block of the file at its first address
	number uint32
	addr   uint32
}

type nodeKind uint8

const (
	directNode   nodeKind = iota // has addresses of blocks
	indirectNode                 // has numbers of nodes
	xattrNode                    // has extended attributes
)

// parentInode means that the parent is the inode; the slot is then one of its five node slots.
const parentInode = -1

// Slots of an inode: two direct nodes, two indirect ones, and one that points to indirect ones.
const (
	slotIndirect = 2
	slotDouble   = 4
)

// Limits of a file (get_node_path in fs/f2fs/node.c; max_file_blocks in fs/f2fs/super.c does not
// count the inode's own addresses).
const (
	perIndirect = disk.NodeAddrs // direct nodes
	perDouble   = disk.NodeAddrs * disk.NodeAddrs
	maxDirect   = slotIndirect + 2*perIndirect + perDouble
	maxBlocks   = maxDirect * disk.NodeAddrs
)

// extraNodes returns the nodes that a file with these spans needs. Nodes come before those that
// they point to.
func extraNodes(spans []inode.Span) []extra {
	m := nodeMaker{last: -1, indirect: [3]int32{-1, -1, -1}, inDouble: -1}
	for _, s := range spans {
		if s.End <= disk.UsedInodeAddrs {
			continue
		}
		from := max(s.Start, disk.UsedInodeAddrs) - disk.UsedInodeAddrs
		to := s.End - disk.UsedInodeAddrs
		for direct := from / disk.NodeAddrs; direct*disk.NodeAddrs < to; direct++ {
			if int64(direct) > m.last {
				m.direct(direct)
				m.last = int64(direct)
			}
		}
	}
	return m.extras
}

// nodeMaker creates direct nodes in the order of the file, and the nodes that point to them.
type nodeMaker struct {
	extras   []extra
	last     int64    // latest direct node
	indirect [3]int32 // the two indirect nodes and the double indirect one; -1: not created yet
	inDouble int32    // latest indirect node below the double indirect one
	slot     uint64   // of inDouble
}

// direct creates a direct node. Offsets count all possible nodes of a file, each before those that
// it points to.
func (m *nodeMaker) direct(number uint64) {
	first := disk.UsedInodeAddrs + number*disk.NodeAddrs
	add := func(kind nodeKind, offset uint64, parent int32, slot uint64) int32 {
		m.extras = append(m.extras, extra{kind: kind, offset: uint32(offset), parent: parent, slot: uint32(slot),
			first: first})
		return int32(len(m.extras) - 1)
	}
	const inode = 1
	if number < slotIndirect {
		add(directNode, inode+number, parentInode, number)
		return
	}
	number -= slotIndirect
	for i := range uint64(2) {
		offset := inode + slotIndirect + i*(1+perIndirect)
		if number < perIndirect {
			if m.indirect[i] < 0 {
				m.indirect[i] = add(indirectNode, offset, parentInode, slotIndirect+i)
			}
			add(directNode, offset+1+number, m.indirect[i], number)
			return
		}
		number -= perIndirect
	}
	offset := uint64(inode + slotIndirect + 2*(1+perIndirect))
	if m.indirect[2] < 0 {
		m.indirect[2] = add(indirectNode, offset, parentInode, slotDouble)
	}
	slot := number / perIndirect
	offset += 1 + slot*(1+perIndirect)
	if m.inDouble < 0 || m.slot != slot {
		m.inDouble, m.slot = add(indirectNode, offset, m.indirect[2], slot), slot
	}
	add(directNode, offset+1+number%perIndirect, m.inDouble, number%perIndirect)
}
