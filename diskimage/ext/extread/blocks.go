// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// maxDepth is the depth of the deepest extent tree of the kernel (EXT4_MAX_EXTENT_DEPTH).
const maxDepth = 5

// run is a sequence of blocks that are contiguous in the file and on the disk.
type run struct {
	file   uint64 // first block in the file
	disk   uint64 // first block on the disk
	blocks uint64
}

// runs returns the blocks of a file in the order of the file, without holes and blocks that were
// reserved but never written.
func (fs *FileSystem) runs(n *inode) ([]run, error) {
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
	return c.runs, nil
}

// collector walks the map of one file.
type collector struct {
	fs    *FileSystem
	inode *inode
	limit uint64 // number of blocks in the file
	next  uint64 // lowest block of the file that may follow, because maps ascend
	runs  []run
	nodes map[uint64]bool // blocks of the map that were read, none of which may be there twice
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
	blocks = min(blocks, c.limit-file)
	if last := len(c.runs) - 1; last >= 0 && c.runs[last].file+c.runs[last].blocks == file &&
		c.runs[last].disk+c.runs[last].blocks == at {
		c.runs[last].blocks += blocks
		return nil
	}
	c.runs = append(c.runs, run{file, at, blocks})
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

// content is the content of a file.
type content struct {
	fs   *FileSystem
	runs []run
	size int64
}

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	if offset >= c.size {
		return 0, io.EOF
	}
	whole := len(p)
	p = p[:min(int64(whole), c.size-offset)]
	clear(p)
	for _, r := range c.runs {
		start, end := int64(r.file)*c.fs.blockSize, int64(r.file+r.blocks)*c.fs.blockSize
		from, to := max(start, offset), min(end, offset+int64(len(p)))
		if from >= to {
			continue
		}
		if err := c.fs.read(p[from-offset:to-offset], int64(r.disk)*c.fs.blockSize+from-start); err != nil {
			return 0, err
		}
	}
	if len(p) < whole {
		return len(p), io.EOF
	}
	return len(p), nil
}

// Close implements io.Closer.
func (c *content) Close() error { return nil }

// data returns the parts of the file that are not holes.
func (c *content) data() []diskimage.Extent {
	extents := []diskimage.Extent{}
	for _, r := range c.runs {
		start := int64(r.file) * c.fs.blockSize
		extents = append(extents,
			diskimage.Extent{Offset: start, Length: min(int64(r.blocks)*c.fs.blockSize, c.size-start)})
	}
	return extents
}

// OnDisk implements diskimage.OnDisk. A hole ends the list, because it has no place.
func (c *content) OnDisk() []diskimage.Extent {
	extents, next := []diskimage.Extent{}, int64(0)
	for _, r := range c.runs {
		start := int64(r.file) * c.fs.blockSize
		if start != next || start >= c.size {
			break
		}
		next = start + int64(r.blocks)*c.fs.blockSize
		extents = append(extents, diskimage.Extent{Offset: int64(r.disk) * c.fs.blockSize, Length: min(next, c.size) - start})
	}
	return extents
}
