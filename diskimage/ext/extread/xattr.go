package extread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// prefixes are what the numbers in an entry stand for (fs/ext4/xattr.c, ext4_xattr_handler_map).
var prefixes = map[disk.XattrIndex]string{
	disk.XattrUser: "user.", disk.XattrACLAccess: "system.posix_acl_access", disk.XattrACLDefault: "system.posix_acl_default",
	disk.XattrTrusted: "trusted.", disk.XattrSecurity: "security.",
}

// xattrs reads the attributes of an inode, in the order of their names.
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
		if all, err = appendXattrs(all, block[disk.XattrHeaderSize:], block); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b diskimage.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// appendXattrs reads a list of entries; their values are in area.
func appendXattrs(all []diskimage.Xattr, entries, area []byte) ([]diskimage.Xattr, error) {
	le := binary.LittleEndian
	damaged := errors.New("its extended attributes are damaged")
	for len(entries) >= disk.XattrEnd && le.Uint32(entries) != 0 {
		if len(entries) < disk.XattrEntrySize {
			return nil, damaged
		}
		nameLength, index := int(entries[0]), disk.XattrIndex(entries[1])
		offset, valueInode, size := int(le.Uint16(entries[2:])), le.Uint32(entries[4:]), int(le.Uint32(entries[8:]))
		length := disk.XattrEntrySize + (nameLength+3)&^3
		if length > len(entries) || size < 0 || size > len(area) || offset+size > len(area) {
			return nil, damaged
		}
		prefix, known := prefixes[index]
		name := prefix + string(entries[disk.XattrEntrySize:disk.XattrEntrySize+nameLength])
		switch {
		case valueInode != 0:
			return nil, fmt.Errorf("extended attribute %q has an inode of its own, which is not supported", name)
		case known:
			value := slices.Clone(area[offset : offset+size])
			if index == disk.XattrACLAccess || index == disk.XattrACLDefault {
				var err error
				if value, err = listedACL(value); err != nil {
					return nil, fmt.Errorf("extended attribute %q: %w", name, err)
				}
			}
			all = append(all, diskimage.Xattr{Name: name, Value: value})
		}
		entries = entries[length:]
	}
	return all, nil
}

// listedACL converts an access control list from the disk's form (fs/ext4/acl.h) to that of getxattr(2), in which each
// entry has an ID.
func listedACL(value []byte) ([]byte, error) {
	const (
		headerSize = 4
		entrySize  = 8 // tag and permissions, two bytes each; ID, four
		shortSize  = 4
		tagUser    = 0x02
		tagGroup   = 0x08
		noID       = 1<<32 - 1
	)
	le := binary.LittleEndian
	if len(value) < headerSize || le.Uint32(value) != disk.ACLVersionDisk {
		return nil, errors.New("not an access control list")
	}
	list := le.AppendUint32(nil, disk.ACLVersionXattr)
	for rest := value[headerSize:]; len(rest) > 0; {
		if len(rest) < shortSize {
			return nil, errors.New("a damaged access control list")
		}
		if tag := le.Uint16(rest); tag != tagUser && tag != tagGroup {
			list = le.AppendUint32(append(list, rest[:shortSize]...), noID)
			rest = rest[shortSize:]
			continue
		}
		if len(rest) < entrySize {
			return nil, errors.New("a damaged access control list")
		}
		list, rest = append(list, rest[:entrySize]...), rest[entrySize:]
	}
	return list, nil
}
