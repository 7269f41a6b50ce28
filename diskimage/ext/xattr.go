// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// inodeXattrRoom is the room for attributes behind an inode.
const inodeXattrRoom = disk.InodeSize - disk.InodeUsed

// xattr is one extended attribute as ext4 stores it: prefix as a number, access control lists in ext4's form.
type xattr struct {
	index disk.XattrIndex
	name  string
	value []byte
}

// xattrPrefixes are the names that ext4 can store (fs/ext4/xattr.c, ext4_xattr_handler_map). Whole names come first.
var xattrPrefixes = []struct {
	prefix string
	index  disk.XattrIndex
	whole  bool
}{
	{acl.Access, disk.XattrACLAccess, true},
	{acl.Default, disk.XattrACLDefault, true},
	{"user.", disk.XattrUser, false},
	{"trusted.", disk.XattrTrusted, false},
	{"security.", disk.XattrSecurity, false},
}

// newXattr converts one attribute.
func newXattr(a diskimage.Xattr) (xattr, error) {
	for _, p := range xattrPrefixes {
		rest, ok := strings.CutPrefix(a.Name, p.prefix)
		if !ok || (rest == "") != p.whole {
			continue
		}
		if len(rest) > disk.MaxNameLength || strings.ContainsRune(rest, 0) {
			return xattr{}, fmt.Errorf("extended attribute %q: bad name", a.Name)
		}
		value := a.Value
		if p.whole {
			list, err := acl.Parse(value)
			if err != nil {
				return xattr{}, fmt.Errorf("extended attribute %q: %w", a.Name, err)
			}
			value = list.Disk()
		}
		return xattr{p.index, rest, value}, nil
	}
	return xattr{}, fmt.Errorf("extended attribute %q: ext4 cannot store names of this kind", a.Name)
}

// size is the room that the attribute needs.
func (a xattr) size() int { return a.entrySize() + align4(len(a.value)) }

func (a xattr) entrySize() int { return disk.XattrEntrySize + align4(len(a.name)) }

// hash is the hash of name and value that attribute blocks hold (ext4_xattr_hash_entry).
func (a xattr) hash() uint32 {
	const nameShift, valueShift = 5, 16
	var hash uint32
	for i := range len(a.name) {
		hash = bits.RotateLeft32(hash, nameShift) ^ uint32(a.name[i])
	}
	padded := make([]byte, align4(len(a.value)))
	copy(padded, a.value)
	for word := range slices.Chunk(padded, 4) {
		hash = bits.RotateLeft32(hash, valueShift) ^ binary.LittleEndian.Uint32(word)
	}
	return hash
}

func align4(n int) int { return (n + 3) &^ 3 }

// xattrBlock is an attribute block, shared by inodes with the same attributes.
type xattrBlock struct {
	content  []byte // whole block; reference count and checksum still zero
	refcount uint32
	block    uint32 // place on the disk
}

// encodeXattrs distributes the attributes of one inode: what fits goes behind the inode, the rest into a block.
// Either result is nil if it holds nothing.
func encodeXattrs(list []diskimage.Xattr) (inline, block []byte, err error) {
	attrs := make([]xattr, 0, len(list))
	for _, a := range list {
		attr, err := newXattr(a)
		if err != nil {
			return nil, nil, err
		}
		attrs = append(attrs, attr)
	}
	// The kernel searches a block for (index, length of the name, name) in this order (xattr_find_entry).
	slices.SortFunc(attrs, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	var near, far []xattr
	nearRoom := inodeXattrRoom - disk.XattrMagicSize - disk.XattrEnd
	farRoom := disk.BlockSize - disk.XattrHeaderSize - disk.XattrEnd
	for i, a := range attrs {
		if i > 0 && a.index == attrs[i-1].index && a.name == attrs[i-1].name {
			return nil, nil, fmt.Errorf("extended attribute %q is there twice", a.name)
		}
		if a.size() <= nearRoom {
			near, nearRoom = append(near, a), nearRoom-a.size()
		} else {
			far, farRoom = append(far, a), farRoom-a.size()
		}
	}
	if farRoom < 0 {
		return nil, nil, fmt.Errorf("extended attributes need %d bytes more than the one block they may have", -farRoom)
	}
	return encodeInodeXattrs(near), encodeXattrBlock(far), nil
}

// encodeInodeXattrs makes what is behind an inode. Entry hashes are 0 there (ext4_xattr_set_entry, in_inode).
func encodeInodeXattrs(attrs []xattr) []byte {
	if len(attrs) == 0 {
		return nil
	}
	area := make([]byte, inodeXattrRoom)
	binary.LittleEndian.PutUint32(area, disk.XattrMagic)
	putXattrs(area[disk.XattrMagicSize:], 0, attrs, func(xattr) uint32 { return 0 })
	return area
}

// encodeXattrBlock makes an attribute block without its reference count and checksum.
func encodeXattrBlock(attrs []xattr) []byte {
	if len(attrs) == 0 {
		return nil
	}
	var blockHash uint32 // ext4_xattr_rehash
	block := make([]byte, disk.BlockSize)
	putXattrs(block, disk.XattrHeaderSize, attrs, func(a xattr) uint32 {
		const blockShift = 16
		hash := a.hash()
		blockHash = bits.RotateLeft32(blockHash, blockShift) ^ hash
		return hash
	})
	disk.Put(block, disk.XattrHeader{Magic: disk.XattrMagic, Blocks: 1, Hash: blockHash})
	return block
}

// putXattrs writes entries from offset on upwards and values from the end of area downwards.
func putXattrs(area []byte, offset int, attrs []xattr, hash func(xattr) uint32) {
	end := len(area)
	for _, a := range attrs {
		entry := disk.XattrEntry{
			NameLength: uint8(len(a.name)),
			NameIndex:  a.index,
			ValueSize:  uint32(len(a.value)),
			Hash:       hash(a),
		}
		if len(a.value) > 0 {
			end -= align4(len(a.value))
			copy(area[end:], a.value)
			entry.ValueOffset = uint16(end)
		}
		disk.Put(area[offset:], entry)
		copy(area[offset+disk.XattrEntrySize:], a.name)
		offset += a.entrySize()
	}
}
