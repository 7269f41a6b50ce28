// SPDX-License-Identifier: Apache-2.0

// Package acl reads and writes POSIX access control lists in the binary forms of Linux.
//
// The form of the extended attributes system.posix_acl_access and system.posix_acl_default is that
// of system calls (include/uapi/linux/posix_acl_xattr.h), and of SCHILY.xattr records in pax
// archives. ext4 and f2fs omit the IDs of entries without one (fs/ext4/acl.h, fs/f2fs/acl.h); XFS
// has its own form (fs/xfs/libxfs/xfs_format.h).
//
// The text form, which pax archives store in SCHILY.acl records (star(4); tar --acls), is not
// supported: it names users and groups by names that mean nothing without the archive's own passwd
// and group files.
package acl

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Names of the extended attributes that hold lists.
const (
	Access  = "system.posix_acl_access"
	Default = "system.posix_acl_default"
)

// Tag says to whom an entry applies.
type Tag uint16

// The tags of include/uapi/linux/posix_acl.h. Only User and Group have an ID.
const (
	UserObj  Tag = 0x01
	User     Tag = 0x02
	GroupObj Tag = 0x04
	Group    Tag = 0x08
	Mask     Tag = 0x10
	Other    Tag = 0x20
)

// NoID is the ID of entries without one (ACL_UNDEFINED_ID).
const NoID = ^uint32(0)

// Entry is one line of a list.
type Entry struct {
	Tag  Tag
	Perm uint16
	ID   uint32
}

// hasID reports whether the entry has an ID.
func (e Entry) hasID() bool { return e.Tag == User || e.Tag == Group }

// List is an access control list. Order, unknown tags and unused IDs are kept as they were read.
type List []Entry

// All forms consist of a header and the entries, in little-endian order except for XFS.
const (
	versionXattr = 2 // POSIX_ACL_XATTR_VERSION
	versionDisk  = 1 // EXT4_ACL_VERSION, F2FS_ACL_VERSION
	headerSize   = 4
	shortSize    = 4 // tag and permissions, two bytes each
	entrySize    = 8 // with the ID
)

// IsName reports whether an extended attribute holds a list.
func IsName(xattr string) bool { return xattr == Access || xattr == Default }

// Parse decodes the form of the extended attributes.
func Parse(value []byte) (List, error) {
	le := binary.LittleEndian
	if len(value) < headerSize || le.Uint32(value) != versionXattr || (len(value)-headerSize)%entrySize != 0 {
		return nil, fmt.Errorf("not an access control list of version %d: %d bytes", versionXattr, len(value))
	}
	list := make(List, 0, (len(value)-headerSize)/entrySize)
	for b := range slices.Chunk(value[headerSize:], entrySize) {
		list = append(list, Entry{Tag(le.Uint16(b)), le.Uint16(b[2:]), le.Uint32(b[shortSize:])})
	}
	return list, nil
}

// Xattr encodes the form of the extended attributes.
func (l List) Xattr() []byte {
	le := binary.LittleEndian
	value := le.AppendUint32(make([]byte, 0, headerSize+len(l)*entrySize), versionXattr)
	for _, e := range l {
		value = le.AppendUint32(e.appendShort(value), e.ID)
	}
	return value
}

// ParseDisk decodes the form that ext4 and f2fs have on the disk.
func ParseDisk(value []byte) (List, error) {
	le := binary.LittleEndian
	if len(value) < headerSize || le.Uint32(value) != versionDisk {
		return nil, fmt.Errorf("not an access control list of version %d: %d bytes", versionDisk, len(value))
	}
	var list List
	for rest := value[headerSize:]; len(rest) > 0; {
		if len(rest) < shortSize {
			return nil, fmt.Errorf("access control list ends inside entry %d", len(list))
		}
		e := Entry{Tag(le.Uint16(rest)), le.Uint16(rest[2:]), NoID}
		rest = rest[shortSize:]
		if e.hasID() {
			if len(rest) < entrySize-shortSize {
				return nil, fmt.Errorf("access control list ends inside entry %d", len(list))
			}
			e.ID, rest = le.Uint32(rest), rest[entrySize-shortSize:]
		}
		list = append(list, e)
	}
	return list, nil
}

// Disk encodes the form that ext4 and f2fs have on the disk.
func (l List) Disk() []byte {
	le := binary.LittleEndian
	value := le.AppendUint32(nil, versionDisk)
	for _, e := range l {
		if value = e.appendShort(value); e.hasID() {
			value = le.AppendUint32(value, e.ID)
		}
	}
	return value
}

// appendShort appends tag and permissions.
func (e Entry) appendShort(value []byte) []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(value, uint16(e.Tag)), e.Perm)
}

// XFS encodes the form of XFS (struct xfs_acl): a count, then entries of tag, ID and permissions,
// big-endian.
func (l List) XFS() []byte {
	be := binary.BigEndian
	value := be.AppendUint32(nil, uint32(len(l)))
	for _, e := range l {
		value = be.AppendUint32(value, uint32(e.Tag))
		value = be.AppendUint32(value, e.ID)
		value = be.AppendUint16(value, e.Perm)
		value = be.AppendUint16(value, 0) // padding
	}
	return value
}

// ParseXFS decodes the form of XFS.
func ParseXFS(value []byte) (List, error) {
	const countSize, entrySize = 4, 12
	be := binary.BigEndian
	if len(value) < countSize || uint64(be.Uint32(value))*entrySize != uint64(len(value)-countSize) {
		return nil, fmt.Errorf("not an access control list of XFS: %d bytes", len(value))
	}
	var list List
	for b := range slices.Chunk(value[countSize:], entrySize) {
		list = append(list, Entry{Tag(be.Uint32(b)), be.Uint16(b[8:]), be.Uint32(b[4:])})
	}
	return list, nil
}

// NamesOthers reports whether the list has an entry for a user or group other than root.
func (l List) NamesOthers() bool {
	return slices.ContainsFunc(l, func(e Entry) bool { return e.hasID() && e.ID != 0 })
}

// classBits is the number of permission bits of one class in a mode.
const classBits = 3

// classes returns the indexes of the entries that correspond to the bits of the mode, by class:
// others, group, owner. A mask corresponds to the group bits (acl(5), "Correspondence between ACL
// entries and file permission bits"). -1 means no entry.
func (l List) classes() [3]int {
	first := func(tag Tag) int { return slices.IndexFunc(l, func(e Entry) bool { return e.Tag == tag }) }
	group := first(Mask)
	if group < 0 {
		group = first(GroupObj)
	}
	return [3]int{first(Other), group, first(UserObj)}
}

// Permissions returns the nine permission bits in the mode of a file with this access list.
func (l List) Permissions() (mode uint32) {
	for class, at := range l.classes() {
		if at >= 0 {
			mode |= uint32(l[at].Perm&7) << (class * classBits)
		}
	}
	return mode
}

// WithMode returns the list after chmod(2): the kernel changes the list together with the mode.
func (l List) WithMode(mode uint32) List {
	l = slices.Clone(l)
	for class, at := range l.classes() {
		if at >= 0 {
			l[at].Perm = uint16(mode >> (class * classBits) & 7)
		}
	}
	return l
}
