// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// maxDepth is the depth of the deepest extent tree of the kernel (EXT4_MAX_EXTENT_DEPTH).
const maxDepth = 5

// content returns the content of a file. Blocks that were reserved but never written are holes.
func (fs *FileSystem) content(n *inode) (*fsread.Content, error) {
	c := collector{fs: fs, inode: n, nodes: map[uint64]bool{},
		limit: (uint64(n.size()) + uint64(fs.blockSize) - 1) / uint64(fs.blockSize)}
	var err error
	if n.Flags&disk.InodeExtents != 0 {
		err = c.extentTree(n.Block[:])
	} else {
		err = c.pointers(n.Block[:])
	}
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", n.number, err)
	}
	return &fsread.Content{R: fs.r, Pieces: c.pieces, Size: n.size()}, nil
}

// collector walks the map of one file.
type collector struct {
	fs    *FileSystem
	inode *inode
	limit uint64          // number of blocks in the file
	next  uint64          // lowest block of the file that may follow, because maps ascend
	nodes map[uint64]bool // blocks of the map that were read, none of which may be there twice
	// pieces are whole blocks, in the order of the file.
	pieces []fsread.Piece
}

// add appends blocks to the list.
func (c *collector) add(file, at, blocks uint64) error {
	if file < c.next || at >= c.fs.blocks || blocks > c.fs.blocks-at {
		return fmt.Errorf("its block map is damaged at block %d", file)
	}
	c.next = file + blocks
	if file >= c.limit {
		return nil // reserved after the end
	}
	size := c.fs.blockSize
	p := fsread.Piece{Offset: int64(file) * size, Length: int64(min(blocks, c.limit-file)) * size, Disk: int64(at) * size}
	if last := len(c.pieces) - 1; last >= 0 {
		before := &c.pieces[last]
		if before.Offset+before.Length == p.Offset && before.Disk+before.Length == p.Disk {
			before.Length += p.Length
			return nil
		}
	}
	c.pieces = append(c.pieces, p)
	return nil
}

// node reads a block of the map.
func (c *collector) node(number uint64) ([]byte, error) {
	if c.nodes[number] {
		return nil, fmt.Errorf("its block map contains block %d twice", number)
	}
	c.nodes[number] = true
	return c.fs.block(number)
}

var errExtents = errors.New("its extent tree is damaged")

// extentTree walks an extent tree from its root in the inode.
func (c *collector) extentTree(root []byte) error {
	level := int(binary.LittleEndian.Uint16(root[6:]))
	if level > maxDepth {
		return errExtents
	}
	return c.extents(root, level)
}

// extentNode reads a node of an extent tree that is not the root, and verifies its checksum, which
// follows the room for entries.
func (c *collector) extentNode(number uint64) ([]byte, error) {
	node, err := c.node(number)
	if err != nil || !c.fs.sums.Metadata() {
		return node, err
	}
	le := binary.LittleEndian
	tail := (int(le.Uint16(node[4:])) + 1) * disk.ExtentEntrySize
	if tail+4 > len(node) ||
		le.Uint32(node[tail:]) != c.fs.sums.InodeBlock(c.inode.number, c.inode.Generation, node[:tail]) {
		return nil, fmt.Errorf("block %d of its extent tree: %w", number, errChecksum)
	}
	return node, nil
}

// extents walks a node and those below it (__ext4_ext_check).
func (c *collector) extents(node []byte, level int) error {
	le := binary.LittleEndian
	entries, most := int(le.Uint16(node[2:])), int(le.Uint16(node[4:]))
	if le.Uint16(node) != disk.ExtentMagic || int(le.Uint16(node[6:])) != level || entries > most ||
		(most+1)*disk.ExtentEntrySize > len(node) || level > 0 && entries == 0 {
		return errExtents
	}
	for i := range entries {
		e := node[(i+1)*disk.ExtentEntrySize:]
		if level > 0 {
			child, err := c.extentNode(uint64(le.Uint16(e[8:]))<<32 | uint64(le.Uint32(e[4:])))
			if err == nil {
				err = c.extents(child, level-1)
			}
			if err != nil {
				return err
			}
			continue
		}
		length := uint64(le.Uint16(e[4:]))
		if length == 0 {
			return errExtents
		}
		if length > disk.MaxExtentLength {
			continue // reserved and never written: reads as zeros
		}
		start := uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:]))
		if err := c.add(uint64(le.Uint32(e)), start, length); err != nil {
			return err
		}
	}
	return nil
}

// pointers walks a block map of ext2 and ext3.
func (c *collector) pointers(field []byte) error {
	per := uint64(c.fs.blockSize / 4)
	spans := [disk.BlockRefs]uint64{}
	for i := range disk.DirectBlocks {
		spans[i] = 1
	}
	spans[disk.Indirect], spans[disk.DoubleInd], spans[disk.TripleInd] = per, per*per, per*per*per
	file := uint64(0)
	for i, span := range spans {
		if file >= c.limit {
			return nil
		}
		if err := c.pointer(uint64(binary.LittleEndian.Uint32(field[4*i:])), file, span, per); err != nil {
			return err
		}
		file += span
	}
	return nil
}

// pointer follows one reference to span blocks of the file.
func (c *collector) pointer(at, file, span, per uint64) error {
	if at == 0 || file >= c.limit {
		return nil
	}
	if span == 1 {
		return c.add(file, at, 1)
	}
	node, err := c.node(at)
	if err != nil {
		return err
	}
	for i := range per {
		child := uint64(binary.LittleEndian.Uint32(node[4*i:]))
		if err := c.pointer(child, file+i*span/per, span/per, per); err != nil {
			return err
		}
	}
	return nil
}
