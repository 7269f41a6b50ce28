// SPDX-License-Identifier: Apache-2.0

package xfs

import (
	"encoding/binary"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// extent is a run of blocks of a file.
type extent struct {
	file, block, count uint64
	unwritten          bool // reserved: zeros
}

// extentSize is the size of an extent on the disk, and of a key and a pointer in a node of the tree of extents.
const extentSize = 16

// dataExtents returns the blocks of the content.
func (n *inode) dataExtents() ([]extent, error) {
	count := uint64(n.Extents)
	if n.Flags2&flagLargeExtents != 0 {
		count = n.BigExtents
	}
	return n.extents(n.Format, n.data, count)
}

// attrExtents returns the blocks of the attributes.
func (n *inode) attrExtents() ([]extent, error) {
	count := uint64(n.AttrExtents)
	if n.Flags2&flagLargeExtents != 0 {
		count = uint64(n.Extents)
	}
	return n.extents(n.AttrFormat, n.attr, count)
}

// extents reads a map, which is in the inode or has only its root there.
func (n *inode) extents(format uint8, fork []byte, count uint64) ([]extent, error) {
	m := extentMap{inode: n, count: count}
	switch format {
	case formatExtents:
		if count*extentSize > uint64(len(fork)) || count > uint64(len(fork)) {
			return nil, fsread.Damaged("%d extents in inode %d", count, n.number)
		}
		if err := m.add(fork[:count*extentSize]); err != nil {
			return nil, err
		}
	case formatBTree:
		const rootHeader = 4
		if len(fork) < rootHeader+extentSize {
			return nil, fsread.Damaged("the extents of inode %d have no root", n.number)
		}
		level, entries := binary.BigEndian.Uint16(fork), int(binary.BigEndian.Uint16(fork[2:]))
		if err := m.children(fork[rootHeader:], level, entries); err != nil {
			return nil, err
		}
	default:
		return nil, fsread.Damaged("inode %d has a map of format %d", n.number, format)
	}
	if uint64(len(m.list)) != count {
		return nil, fsread.Damaged("inode %d has %d extents, and should have %d", n.number, len(m.list), count)
	}
	return m.list, nil
}

// extentMap collects the extents of one map.
type extentMap struct {
	inode *inode
	count uint64 // how many there should be
	list  []extent
}

// add decodes extents. Each is after the one before, and all are as many as the inode says: no node can be there twice.
func (m *extentMap) add(raw []byte) error {
	const fileBits, countBits, lowBits = 54, 21, 43
	for ; len(raw) >= extentSize; raw = raw[extentSize:] {
		high, low := binary.BigEndian.Uint64(raw), binary.BigEndian.Uint64(raw[8:])
		x := extent{
			unwritten: high>>63 != 0, file: high >> 9 & (1<<fileBits - 1),
			block: high&(1<<9-1)<<lowBits | low>>countBits, count: low & (1<<countBits - 1),
		}
		at, err := m.inode.fs.offset(x.block)
		if err != nil {
			return err
		}
		size, _ := m.inode.fs.Size()
		if x.count == 0 || x.count<<m.inode.fs.sb.BlockLog > size-uint64(at) || uint64(len(m.list)) >= m.count {
			return fsread.Damaged("an extent of %d blocks of inode %d", x.count, m.inode.number)
		}
		if last := len(m.list) - 1; last >= 0 && m.list[last].file+m.list[last].count > x.file {
			return fsread.Damaged("the extents of inode %d overlap", m.inode.number)
		}
		m.list = append(m.list, x)
	}
	return nil
}

// children reads the nodes below one, whose keys and pointers each have half of its room.
func (m *extentMap) children(room []byte, level uint16, entries int) error {
	const maxLevel = 10
	most := len(room) / extentSize
	if level == 0 || level > maxLevel || entries == 0 || entries > most {
		return fsread.Damaged("a node of the extents of inode %d", m.inode.number)
	}
	pointers := room[most*extentSize/2:]
	for i := range entries {
		if err := m.node(binary.BigEndian.Uint64(pointers[8*i:]), level-1); err != nil {
			return err
		}
	}
	return nil
}

// node reads a node that is not in the inode.
func (m *extentMap) node(block uint64, level uint16) error {
	fs := m.inode.fs
	raw, err := fs.blocks(block, 1)
	if err != nil {
		return err
	}
	var h blockHeader
	decode(raw, &h)
	size, magic := binary.Size(h), "BMAP"
	if fs.sums {
		var tail blockTail
		decode(raw[size:], &tail)
		size, magic = size+binary.Size(tail), "BMA3"
		if tail.Owner != m.inode.number {
			return fsread.Damaged("block %d of inode %d is that of another", block, m.inode.number)
		}
		if !valid(raw, extentChecksum) {
			return errChecksum
		}
	}
	body := raw[size:]
	if string(h.Magic[:]) != magic || h.Level != level || h.Count == 0 || int(h.Count) > len(body)/extentSize {
		return fsread.Damaged("block %d of inode %d is no map", block, m.inode.number)
	}
	if level > 0 {
		return m.children(body, level, int(h.Count))
	}
	return m.add(body[:int(h.Count)*extentSize])
}

// logicalBlocks returns each block of extents before an end, as an extent of one block.
func (fs *FileSystem) logicalBlocks(extents []extent, end uint64) (all []extent, err error) {
	for _, x := range extents {
		for i := range x.count {
			if x.file+i >= end {
				return all, nil
			}
			if len(all) > fsread.MaxDirectory>>fs.sb.BlockLog {
				return nil, fsread.Damaged("a directory of more than %d bytes", fsread.MaxDirectory)
			}
			all = append(all, extent{file: x.file + i, block: x.block + i, count: 1})
		}
	}
	return all, nil
}
