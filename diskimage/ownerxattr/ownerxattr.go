// SPDX-License-Identifier: Apache-2.0

// Package ownerxattr encodes the owner of a file in one of its extended attributes. It is used
// where the file cannot have that owner: in a user namespace with a single ID, all files belong to
// that ID.
//
// The owner of a file or directory is in the attribute Name, as text. Other files cannot have user
// attributes (xattr(7)) but can have capabilities, which have an effect only on programs: the owner
// of a link, pipe or socket is stored in the bits of security.capability. Access control lists that
// name IDs outside the namespace are stored in a user attribute, too.
//
// Every user can set such attributes on their own files. Apply them only to trees that no other
// program has written.
package ownerxattr

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Prefix is the prefix of all attributes of this package except security.capability.
const Prefix = "user.vmdebootstrap."

// Name is the attribute of files and directories. Its value is "UID:GID".
const Name = Prefix + "owner"

// capability is the attribute of other files. Its value is struct vfs_cap_data of version 2
// (linux/capability.h): the magic number, then permitted and inheritable capabilities of 32 bits
// each, twice. The permitted capabilities hold the user and the inheritable ones the group.
const (
	capability         = "security.capability"
	capabilityRevision = 0x02000000 // VFS_CAP_REVISION_2
	capabilityMask     = 0xFF000000 // VFS_CAP_REVISION_MASK
	capabilitySize     = 20         // XATTR_CAPS_SZ_2
)

// Access control lists: the attribute aclPrefix+KIND replaces aclSystem+KIND.
const (
	aclPrefix = Prefix + "posix_acl_"
	aclSystem = "system.posix_acl_"
)

// Owner is the user and group of a file.
type Owner struct{ UID, GID uint32 }

// Is reports whether an attribute belongs to this package. It returns false for
// security.capability, which also has other uses.
func Is(name string) bool { return strings.HasPrefix(name, Prefix) }

// HoldsUserXattrs reports whether files of this type can have user attributes.
func HoldsUserXattrs(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFREG || mode&unix.S_IFMT == unix.S_IFDIR
}

// NameFor returns the name of the attribute with the owner of a file with this st_mode.
func NameFor(mode uint32) string {
	if HoldsUserXattrs(mode) {
		return Name
	}
	return capability
}

// Xattr returns the attribute that records o for a file with this st_mode.
func (o Owner) Xattr(mode uint32) (name string, value []byte) {
	if HoldsUserXattrs(mode) {
		return Name, fmt.Appendf(nil, "%d:%d", o.UID, o.GID)
	}
	value = make([]byte, capabilitySize)
	binary.LittleEndian.PutUint32(value, capabilityRevision)
	binary.LittleEndian.PutUint32(value[4:], o.UID)
	binary.LittleEndian.PutUint32(value[8:], o.GID)
	return capability, value
}

// Parse decodes the value of the attribute NameFor(mode).
func Parse(mode uint32, value []byte) (Owner, error) {
	if !HoldsUserXattrs(mode) {
		if len(value) != capabilitySize || binary.LittleEndian.Uint32(value)&capabilityMask != capabilityRevision {
			return Owner{}, fmt.Errorf("%s does not hold an owner: %x", capability, value)
		}
		return Owner{binary.LittleEndian.Uint32(value[4:]), binary.LittleEndian.Uint32(value[8:])}, nil
	}
	u, g, _ := strings.Cut(string(value), ":")
	uid, uidErr := strconv.ParseUint(u, 10, 32)
	gid, gidErr := strconv.ParseUint(g, 10, 32)
	if uidErr != nil || gidErr != nil {
		return Owner{}, fmt.Errorf("%s does not hold an owner: %q", Name, value)
	}
	return Owner{uint32(uid), uint32(gid)}, nil
}

// ForACL returns the attribute that replaces system.posix_acl_access or system.posix_acl_default.
// ok is false for any other name.
func ForACL(system string) (name string, ok bool) {
	kind, ok := strings.CutPrefix(system, aclSystem)
	return aclPrefix + kind, ok && isACLKind(kind)
}

// ACL returns the attribute that name replaces. ok is false if name is not that of an access
// control list.
func ACL(name string) (system string, ok bool) {
	kind, ok := strings.CutPrefix(name, aclPrefix)
	return aclSystem + kind, ok && isACLKind(kind)
}

func isACLKind(kind string) bool { return kind == "access" || kind == "default" }
