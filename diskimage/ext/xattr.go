// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"
)

// inodeXattrRoom is the room for attributes after an inode.
const inodeXattrRoom = disk.InodeSize - disk.InodeUsed

// attribute is one extended attribute as ext4 stores it.
type attribute struct{ xattr.Attr }

// size returns the number of bytes that the attribute needs.
func (a attribute) size() int { return a.entrySize() + align4(len(a.Value)) }

func (a attribute) entrySize() int { return disk.XattrEntrySize + align4(len(a.Name)) }

// hash returns the hash of name and value in attribute blocks (ext4_xattr_hash_entry).
func (a attribute) hash() uint32 {
	const nameShift, valueShift = 5, 16
	var hash uint32
	for i := range len(a.Name) {
		hash = bits.RotateLeft32(hash, nameShift) ^ uint32(a.Name[i])
	}
	padded := make([]byte, align4(len(a.Value)))
	copy(padded, a.Value)
	for word := range slices.Chunk(padded, 4) {
		hash = bits.RotateLeft32(hash, valueShift) ^ binary.LittleEndian.Uint32(word)
	}
	return hash
}

func align4(n int) int { return (n + 3) &^ 3 }

// xattrBlock is an attribute block, shared by inodes with equal attributes.
type xattrBlock struct {
	content  []byte // whole block; reference count and checksum still zero
	refcount uint32
	block    uint32 // location on the disk
}

// encodeXattrs encodes the attributes of one inode: those that fit follow the inode, the others are
// in a block. Either result is nil if it is empty.
func encodeXattrs(list []diskimage.Xattr) (inline, block []byte, err error) {
	encoded, err := xattr.Encode(list)
	if err != nil {
		return nil, nil, err
	}
	attrs := make([]attribute, 0, len(encoded))
	for _, a := range encoded {
		attrs = append(attrs, attribute{a})
	}
	// The kernel expects entries sorted by index, length of the name, and name (xattr_find_entry).
	slices.SortFunc(attrs, func(a, b attribute) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	var inInode, inBlock []attribute
	inodeRoom := inodeXattrRoom - disk.XattrMagicSize - disk.XattrEnd
	blockRoom := disk.BlockSize - disk.XattrHeaderSize - disk.XattrEnd
	for _, a := range attrs {
		if a.size() <= inodeRoom {
			inInode, inodeRoom = append(inInode, a), inodeRoom-a.size()
		} else {
			inBlock, blockRoom = append(inBlock, a), blockRoom-a.size()
		}
	}
	if blockRoom < 0 {
		return nil, nil, fmt.Errorf("extended attributes need %d bytes more than the one block they may have", -blockRoom)
	}
	return encodeInodeXattrs(inInode), encodeXattrBlock(inBlock), nil
}

// encodeInodeXattrs encodes the attributes after an inode, whose hashes are 0
// (ext4_xattr_set_entry, in_inode).
func encodeInodeXattrs(attrs []attribute) []byte {
	if len(attrs) == 0 {
		return nil
	}
	area := make([]byte, inodeXattrRoom)
	binary.LittleEndian.PutUint32(area, disk.XattrMagic)
	putXattrs(area[disk.XattrMagicSize:], 0, attrs, func(attribute) uint32 { return 0 })
	return area
}

// encodeXattrBlock encodes an attribute block without its reference count and checksum.
func encodeXattrBlock(attrs []attribute) []byte {
	if len(attrs) == 0 {
		return nil
	}
	var blockHash uint32 // ext4_xattr_rehash
	block := make([]byte, disk.BlockSize)
	putXattrs(block, disk.XattrHeaderSize, attrs, func(a attribute) uint32 {
		const blockShift = 16
		hash := a.hash()
		blockHash = bits.RotateLeft32(blockHash, blockShift) ^ hash
		return hash
	})
	disk.Put(block, disk.XattrHeader{Magic: disk.XattrMagic, Blocks: 1, Hash: blockHash})
	return block
}

// putXattrs writes entries upwards from offset and values downwards from the end of area.
func putXattrs(area []byte, offset int, attrs []attribute, hash func(attribute) uint32) {
	end := len(area)
	for _, a := range attrs {
		entry := disk.XattrEntry{
			NameLength: uint8(len(a.Name)),
			NameIndex:  a.Index,
			ValueSize:  uint32(len(a.Value)),
			Hash:       hash(a),
		}
		if len(a.Value) > 0 {
			end -= align4(len(a.Value))
			copy(area[end:], a.Value)
			entry.ValueOffset = uint16(end)
		}
		disk.Put(area[offset:], entry)
		copy(area[offset+disk.XattrEntrySize:], a.Name)
		offset += a.entrySize()
	}
}
