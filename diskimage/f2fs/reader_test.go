// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// reader reads a file system as fs/f2fs of Linux does. It shares only the structures with the
// writer.
type reader struct {
	file *os.File
	sb   disk.SuperBlock
	cp   disk.Checkpoint
	dirs map[uint32]*readInode // already read
}

func newReader(file *os.File) (*reader, error) {
	r := &reader{file: file, dirs: map[uint32]*readInode{}}
	var copies [2]disk.SuperBlock
	for i := range copies {
		disk.Get(r.block(uint32(i))[1024:], &copies[i])
	}
	if r.sb = copies[0]; copies[0] != copies[1] || r.sb.Magic != 0xF2F52010 {
		return nil, errors.New("bad superblocks")
	}
	best := uint64(0)
	for i := range uint32(2) {
		first := r.block(r.sb.CPAddr + i*512)
		var cp disk.Checkpoint
		disk.Get(first, &cp)
		if cp.ChecksumOffset == 0 {
			continue // resize.f2fs writes no second one
		}
		last := r.block(r.sb.CPAddr + i*512 + cp.PackBlocks - 1)
		if !slices.Equal(first, last) {
			return nil, fmt.Errorf("checkpoint %d ends with a different one", i)
		}
		if got, want := binary.LittleEndian.Uint32(first[cp.ChecksumOffset:]),
			crc(first[:cp.ChecksumOffset]); got != want {
			return nil, fmt.Errorf("checkpoint %d has checksum %x, want %x", i, got, want)
		}
		if cp.Version > best {
			best, r.cp = cp.Version, cp
		}
	}
	if best == 0 {
		return nil, errors.New("no checkpoint")
	}
	return r, nil
}

// crc returns the CRC-32 of f2fs, bit by bit.
func crc(data []byte) uint32 {
	sum := uint32(0xF2F52010)
	for _, b := range data {
		sum ^= uint32(b)
		for range 8 {
			sum = sum>>1 ^ crc32.IEEE*(sum&1)
		}
	}
	return sum
}

// block reads a block, padded with zeros after the end of the file.
func (r *reader) block(addr uint32) []byte {
	b := make([]byte, 4096)
	if _, err := r.file.ReadAt(b, int64(addr)*4096); err != nil && !errors.Is(err, io.EOF) {
		panic(err)
	}
	return b
}

// node reads a node by its number.
func (r *reader) node(number uint32) ([]byte, disk.Footer, error) {
	const perBlock = 455
	index := number / perBlock
	block := r.block(r.sb.NATAddr + index/512*1024 + index%512)
	var entry disk.NATEntry
	disk.Get(block[number%perBlock*9:], &entry)
	if entry.BlockAddr < r.sb.MainAddr || entry.BlockAddr >= r.sb.MainAddr+r.sb.SegmentCountMain*512 {
		return nil, disk.Footer{}, fmt.Errorf("node %d is at %d, outside of the main area", number, entry.BlockAddr)
	}
	node := r.block(entry.BlockAddr)
	var footer disk.Footer
	disk.Get(node[4072:], &footer)
	if footer.Node != number || footer.Inode != entry.Inode {
		return nil, disk.Footer{}, fmt.Errorf("node %d of inode %d has number %d of inode %d", number, entry.Inode,
			footer.Node, footer.Inode)
	}
	return node, footer, nil
}

// readInode is an inode with its whole block.
type readInode struct {
	disk.Inode
	r      *reader
	number uint32
	raw    []byte
}

func (r *reader) inode(number uint32) (*readInode, error) {
	if n := r.dirs[number]; n != nil {
		return n, nil
	}
	raw, footer, err := r.node(number)
	if err != nil {
		return nil, err
	}
	n := &readInode{r: r, number: number, raw: raw}
	disk.Get(raw, &n.Inode)
	if footer.Inode != number || footer.Flag>>3 != 0 {
		return nil, fmt.Errorf("inode %d: footer %+v", number, footer)
	}
	dir := n.Mode&0o170000 == 0o040000
	if dir == (footer.Flag&1 == 1) {
		return nil, fmt.Errorf("inode %d: mode %o and flags %x", number, n.Mode, footer.Flag)
	}
	if dir {
		r.dirs[number] = n
	}
	return n, nil
}

// addr returns the address of a block of the file, 0 for a hole.
func (n *readInode) addr(block uint64) (uint32, error) {
	const inInode, perNode = 873, 1018
	get := func(node []byte, i uint64) uint32 { return binary.LittleEndian.Uint32(node[4*i:]) }
	if block < inInode {
		return get(n.raw[360:], block), nil
	}
	block -= inInode
	nids := n.raw[360+923*4:]
	// The slots of the nodes on the path, and the offset of the last one in the node tree.
	var path []uint64
	var offset uint64
	switch direct := block / perNode; {
	case direct < 2:
		path, offset = []uint64{direct}, 1+direct
	case direct < 2+perNode:
		path, offset = []uint64{2, direct - 2}, 4+direct-2
	case direct < 2+2*perNode:
		path, offset = []uint64{3, direct - 2 - perNode}, 5+perNode+direct-2-perNode
	default:
		rest := direct - 2 - 2*perNode
		path = []uint64{4, rest / perNode, rest % perNode}
		offset = 7 + 2*perNode + rest/perNode*(perNode+1) + rest%perNode
	}
	table := nids
	for _, slot := range path {
		number := get(table, slot)
		if number == 0 {
			return 0, nil
		}
		node, footer, err := n.r.node(number)
		if err != nil {
			return 0, err
		}
		if footer.Inode != n.number {
			return 0, fmt.Errorf("inode %d points to a node of %d", n.number, footer.Inode)
		}
		table, offset = node, offset|uint64(footer.Flag>>3)<<32
	}
	if uint32(offset) != uint32(offset>>32) && len(path) == 1 {
		return 0, fmt.Errorf("inode %d: a node has offset %d, want %d", n.number, offset>>32, uint32(offset))
	}
	return get(table, block%perNode), nil
}

// ReadAt implements io.ReaderAt.
func (n *readInode) ReadAt(p []byte, offset int64) (int, error) {
	if n.Inline&0x02 != 0 {
		return copy(p, n.raw[364:][offset:n.Size]), nil
	}
	for done := 0; done < len(p); {
		at := offset + int64(done)
		addr, err := n.addr(uint64(at) / 4096)
		if err != nil {
			return done, err
		}
		part := p[done:][:min(len(p)-done, int(4096-at%4096))]
		if clear(part); addr != 0 {
			copy(part, n.r.block(addr)[at%4096:])
		}
		done += len(part)
	}
	return len(p), nil
}

// names yields the names in a block of directory entries.
func names(area []byte, slots int, yield func(name string, e disk.DirEntry)) {
	filenames := len(area) - 8*slots
	entries := filenames - 11*slots
	for i := 0; i < slots; {
		if area[i/8]>>(i%8)&1 == 0 {
			i++
			continue
		}
		b := area[entries+11*i:]
		e := disk.DirEntry{
			Hash: binary.LittleEndian.Uint32(b), Inode: binary.LittleEndian.Uint32(b[4:]),
			NameLength: binary.LittleEndian.Uint16(b[8:]), Type: disk.FileType(b[10]),
		}
		yield(string(area[filenames+8*i:][:e.NameLength]), e)
		i += (int(e.NameLength) + 7) / 8
	}
}

// lookup finds a name as the kernel does, in the possible buckets.
func (n *readInode) lookup(name string) (found disk.DirEntry, err error) {
	look := func(area []byte, slots int) {
		names(area, slots, func(other string, e disk.DirEntry) {
			if other == name && e.Hash == dirHash(name) {
				found = e
			}
		})
	}
	if n.Inline&0x04 != 0 {
		look(n.raw[364:][:3488], 182)
	} else {
		for level, block := uint32(0), uint64(0); level < n.Depth; level++ {
			buckets := uint64(1) << level
			for i := range uint64(2) {
				addr, err := n.addr(block + uint64(dirHash(name))%buckets*2 + i)
				if err != nil {
					return found, err
				}
				if addr != 0 {
					look(n.r.block(addr), 214)
				}
			}
			block += 2 * buckets
		}
	}
	if found.Inode == 0 {
		return found, fmt.Errorf("%q is not in inode %d", name, n.number)
	}
	return found, nil
}

// list returns all names of a directory.
func (n *readInode) list() (all []string, err error) {
	add := func(name string, _ disk.DirEntry) { all = append(all, name) }
	if n.Inline&0x04 != 0 {
		names(n.raw[364:][:3488], 182, add)
		return all, nil
	}
	for block := range n.Size / 4096 {
		addr, err := n.addr(block)
		if err != nil {
			return nil, err
		}
		if addr != 0 {
			names(n.r.block(addr), 214, add)
		}
	}
	return all, nil
}

// xattrs returns the extended attributes, access control lists in their form on disk.
func (n *readInode) xattrs() (map[string]string, error) {
	row := slices.Clone(n.raw[4052-200 : 4052])
	if n.XattrNode != 0 {
		node, footer, err := n.r.node(n.XattrNode)
		if err != nil || footer.Flag>>3 != 1<<29-1 {
			return nil, fmt.Errorf("node with extended attributes: %+v, %w", footer, err)
		}
		row = append(row, node[:4072]...)
	}
	all := map[string]string{}
	if binary.LittleEndian.Uint32(row) == 0 {
		return all, nil
	}
	prefixes := []string{1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.",
		6: "security."}
	for row = row[24:]; binary.LittleEndian.Uint32(row) != 0; {
		length, size := int(row[1]), int(binary.LittleEndian.Uint16(row[2:]))
		all[prefixes[row[0]]+string(row[4:4+length])] = string(row[4+length:][:size])
		row = row[(4+length+size+3)&^3:]
	}
	return all, nil
}

// open finds a file by its path.
func (r *reader) open(name string) (*readInode, error) {
	n, err := r.inode(r.sb.RootInode)
	if err != nil || name == "." {
		return n, err
	}
	for element := range strings.SplitSeq(name, "/") {
		e, err := n.lookup(element)
		if err != nil {
			return nil, err
		}
		if n, err = r.inode(e.Inode); err != nil {
			return nil, err
		}
		types := map[disk.FileType]uint16{1: 0o10, 2: 0o4, 3: 0o2, 4: 0o6, 5: 0o1, 6: 0o14, 7: 0o12}
		if n.Mode>>12 != types[e.Type] {
			return nil, fmt.Errorf("%q has type %d and mode %o", element, e.Type, n.Mode)
		}
	}
	return n, nil
}
