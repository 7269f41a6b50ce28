// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"
)

// xattrs returns the attributes of an inode, sorted by name.
func (fs *FileSystem) xattrs(n *inode) ([]diskimage.Xattr, error) {
	var all []diskimage.Xattr
	var err error
	if len(n.tail) >= disk.XattrMagicSize && binary.LittleEndian.Uint32(n.tail) == disk.XattrMagic {
		area := n.tail[disk.XattrMagicSize:]
		if all, err = appendXattrs(all, area, area); err != nil {
			return nil, err
		}
	}
	if number := uint64(n.FileACLHi)<<32 | uint64(n.FileACLLo); number != 0 {
		block, err := fs.block(number)
		if err != nil {
			return nil, fmt.Errorf("extended attributes: %w", err)
		}
		if binary.LittleEndian.Uint32(block) != disk.XattrMagic {
			return nil, errors.New("the block of its extended attributes is damaged")
		}
		if fs.sums.Metadata() &&
			binary.LittleEndian.Uint32(block[disk.XattrChecksumOffset:]) != fs.sums.XattrBlock(number, block) {
			return nil, fmt.Errorf("extended attributes: %w", errChecksum)
		}
		if all, err = appendXattrs(all, block[disk.XattrHeaderSize:], block); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b diskimage.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// appendXattrs decodes a list of entries, whose values are in area.
func appendXattrs(all []diskimage.Xattr, entries, area []byte) ([]diskimage.Xattr, error) {
	le := binary.LittleEndian
	damaged := errors.New("its extended attributes are damaged")
	for len(entries) >= disk.XattrEnd && le.Uint32(entries) != 0 {
		if len(entries) < disk.XattrEntrySize {
			return nil, damaged
		}
		nameLength := int(entries[0])
		offset, valueInode, size := int(le.Uint16(entries[2:])), le.Uint32(entries[4:]), int(le.Uint32(entries[8:]))
		length := disk.XattrEntrySize + (nameLength+3)&^3
		if length > len(entries) || size < 0 || size > len(area) || offset+size > len(area) {
			return nil, damaged
		}
		a := xattr.Attr{Index: xattr.Index(entries[1]), Name: string(entries[disk.XattrEntrySize:][:nameLength])}
		name, known := a.FullName()
		switch {
		case valueInode != 0:
			return nil, fmt.Errorf("extended attribute %q has a separate inode, which is not supported", name)
		case known:
			a.Value = slices.Clone(area[offset : offset+size])
			x, err := a.Decode()
			if err != nil {
				return nil, err
			}
			all = append(all, x)
		}
		entries = entries[length:]
	}
	return all, nil
}
