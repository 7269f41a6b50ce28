// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// xattrPrefixes are the names that f2fs can store (fs/f2fs/xattr.c, f2fs_xattr_handler_map). Whole names come first.
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

// xattr is one extended attribute as f2fs stores it.
type xattr struct {
	index disk.XattrIndex
	name  string
	value []byte
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
	return xattr{}, fmt.Errorf("extended attribute %q: %s cannot store names of this kind", a.Name, Type)
}

// size is the room that the attribute needs.
func (a xattr) size() int { return (disk.XattrEntrySize + len(a.name) + len(a.value) + 3) &^ 3 }

// encodeXattrs makes the row of attributes of one inode without the zeros at its end; nil if there are none.
func encodeXattrs(list []diskimage.Xattr) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	attrs := make([]xattr, 0, len(list))
	size := disk.XattrHeaderSize
	for _, a := range list {
		attr, err := newXattr(a)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, attr)
		size += attr.size()
	}
	if missing := size + disk.XattrEnd - disk.XattrRoom; missing > 0 {
		return nil, fmt.Errorf("extended attributes need %d bytes more than the %d that %s has for them",
			missing, disk.XattrRoom-disk.XattrHeaderSize-disk.XattrEnd, Type)
	}
	slices.SortFunc(attrs, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.name, b.name))
	})
	row := make([]byte, size)
	disk.Put(row, disk.XattrHeader{Magic: disk.XattrMagic, Refcount: 1})
	at := disk.XattrHeaderSize
	for i, a := range attrs {
		if i > 0 && a.index == attrs[i-1].index && a.name == attrs[i-1].name {
			return nil, fmt.Errorf("extended attribute %q is there twice", a.name)
		}
		disk.Put(row[at:], disk.XattrEntry{NameIndex: a.index, NameLength: uint8(len(a.name)),
			ValueSize: uint16(len(a.value))})
		copy(row[at+disk.XattrEntrySize:], a.name)
		copy(row[at+disk.XattrEntrySize+len(a.name):], a.value)
		at += a.size()
	}
	return row, nil
}
