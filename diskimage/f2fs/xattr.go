// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"
)

// xattrSize returns the room that an attribute needs.
func xattrSize(a xattr.Attr) int { return (disk.XattrEntrySize + len(a.Name) + len(a.Value) + 3) &^ 3 }

// encodeXattrs encodes the attributes of one inode without the zeros at their end; nil if there are
// none.
func encodeXattrs(list []diskimage.Xattr) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	attrs, err := xattr.Encode(list)
	if err != nil {
		return nil, err
	}
	size := disk.XattrHeaderSize
	for _, a := range attrs {
		size += xattrSize(a)
	}
	if missing := size + disk.XattrEnd - disk.XattrRoom; missing > 0 {
		return nil, fmt.Errorf("extended attributes need %d bytes more than the maximum of %d on %s",
			missing, disk.XattrRoom-disk.XattrHeaderSize-disk.XattrEnd, Type)
	}
	slices.SortFunc(attrs, func(a, b xattr.Attr) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Name, b.Name))
	})
	row := make([]byte, size)
	disk.Put(row, disk.XattrHeader{Magic: disk.XattrMagic, Refcount: 1})
	at := disk.XattrHeaderSize
	for _, a := range attrs {
		disk.Put(row[at:], disk.XattrEntry{NameIndex: a.Index, NameLength: uint8(len(a.Name)),
			ValueSize: uint16(len(a.Value))})
		copy(row[at+disk.XattrEntrySize:], a.Name)
		copy(row[at+disk.XattrEntrySize+len(a.Name):], a.Value)
		at += xattrSize(a)
	}
	return row, nil
}
