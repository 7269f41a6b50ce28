// SPDX-License-Identifier: Apache-2.0

// Package ownerxattr encodes the owner of a file in an extended attribute of it, for where there is no user
// or group to give the file to: in a user namespace with a single ID, every file belongs to that.
//
// A file or directory has its owner in Name, as text. Nothing else may have attributes of users (xattr(7)),
// but anything may have capabilities, which mean nothing but on a program; the owner of a link, pipe or
// socket is in the bits of security.capability. Access control lists that name IDs which are not there have
// an attribute of users, too.
//
// Anybody can set such attributes on files of their own. They are to be believed only where nobody but this program has
// written.
package ownerxattr

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Prefix begins the names of all attributes of this package but security.capability.
const Prefix = "user.vmdebootstrap."

// Name is the attribute of files and directories. Its value is "UID:GID".
const Name = Prefix + "owner"

// capability is the attribute of everything else, in linux/capability.h's struct vfs_cap_data of version 2:
// the magic, then permitted and inheritable capabilities of 32 bits each, twice. The user is what is
// permitted, the group what is inheritable.
const (
	capability         = "security.capability"
	capabilityRevision = 0x02000000 // VFS_CAP_REVISION_2
	capabilityMask     = 0xFF000000 // VFS_CAP_REVISION_MASK
	capabilitySize     = 20         // XATTR_CAPS_SZ_2
)

// Access control lists: what stands after aclPrefix stands after aclSystem in the attribute that it takes the place of.
const (
	aclPrefix = Prefix + "posix_acl_"
	aclSystem = "system.posix_acl_"
)

// Owner is whose a file is.
type Owner struct{ UID, GID uint32 }

// Is reports whether an attribute is one of this package; security.capability is not only that.
func Is(name string) bool { return strings.HasPrefix(name, Prefix) }

// HoldsUserXattrs reports whether files of a type may have attributes of users.
func HoldsUserXattrs(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFREG || mode&unix.S_IFMT == unix.S_IFDIR
}

// NameFor returns the attribute that holds the owner of a file with this st_mode.
func NameFor(mode uint32) string {
	if HoldsUserXattrs(mode) {
		return Name
	}
	return capability
}

// Xattr returns the attribute that says whose a file with this st_mode is.
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

// Parse reads the value of NameFor(mode).
func Parse(mode uint32, value []byte) (Owner, error) {
	if !HoldsUserXattrs(mode) {
		if len(value) != capabilitySize || binary.LittleEndian.Uint32(value)&capabilityMask != capabilityRevision {
			return Owner{}, fmt.Errorf("%s is no owner: %x", capability, value)
		}
		return Owner{binary.LittleEndian.Uint32(value[4:]), binary.LittleEndian.Uint32(value[8:])}, nil
	}
	u, g, _ := strings.Cut(string(value), ":")
	uid, uidErr := strconv.ParseUint(u, 10, 32)
	gid, gidErr := strconv.ParseUint(g, 10, 32)
	if uidErr != nil || gidErr != nil {
		return Owner{}, fmt.Errorf("%s is no owner: %q", Name, value)
	}
	return Owner{uint32(uid), uint32(gid)}, nil
}

// ForACL returns the attribute that takes the place of system.posix_acl_access or system.posix_acl_default;
// false for any other name.
func ForACL(system string) (name string, ok bool) {
	kind, ok := strings.CutPrefix(system, aclSystem)
	return aclPrefix + kind, ok && isACLKind(kind)
}

// ACL returns the attribute that this one takes the place of; false if it is none for an access control list.
func ACL(name string) (system string, ok bool) {
	kind, ok := strings.CutPrefix(name, aclPrefix)
	return aclSystem + kind, ok && isACLKind(kind)
}

func isACLKind(kind string) bool { return kind == "access" || kind == "default" }
