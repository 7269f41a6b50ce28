package diskimage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// OwnerXattr is an extended attribute that says whose a file or directory should be, "UID:GID", where there was no user
// to give it to. Other types of files cannot have it; their security.capability, which means nothing otherwise, says so:
// the permitted capabilities are the user, the inheritable ones the group. A directory read as a Tree has the owners
// that are noted so, and not the notes.
const OwnerXattr = "user.vmdebootstrap.owner"

// Notes of access control lists that name users or groups who were not there. The mode of the file is right, the list as
// it was given.
const (
	aclNotePrefix = "user.vmdebootstrap.posix_acl_"
	aclPrefix     = "system.posix_acl_"
	aclAccess     = aclPrefix + "access"
)

// applyACLs puts noted access control lists in place.
func applyACLs(e *Entry) {
	noted := false
	for i := range e.Xattrs {
		x := &e.Xattrs[i]
		kind, ok := strings.CutPrefix(x.Name, aclNotePrefix)
		if !ok {
			continue
		}
		noted = true
		x.Name = aclPrefix + kind
		if x.Name == aclAccess {
			syncACL(x.Value, e.Mode)
		}
	}
	if noted {
		slices.SortFunc(e.Xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	}
}

// syncACL makes a list say what the mode says, as it may have been set later: the kernel would have changed the list. The
// form is that of linux/posix_acl_xattr.h: a version, then entries of a tag and permissions of 2 bytes each and an id.
func syncACL(list []byte, mode uint32) {
	const (
		header, entry                    = 4, 8
		userObj, groupObj, mask, otherID = 0x01, 0x04, 0x10, 0x20
	)
	group := -1
	set := func(at int, shift uint) {
		if at >= 0 {
			binary.LittleEndian.PutUint16(list[at+2:], uint16(mode>>shift&7))
		}
	}
	masked := false
	for at := header; at+entry <= len(list); at += entry {
		switch binary.LittleEndian.Uint16(list[at:]) {
		case userObj:
			set(at, 6)
		case groupObj:
			if !masked {
				group = at
			}
		case mask: // stands for the group
			group, masked = at, true
		case otherID:
			set(at, 0)
		}
	}
	set(group, 3)
}

// applyOwner takes a noted owner out of the attributes of an entry.
func applyOwner(e *Entry) error {
	name := OwnerXattr
	if !e.IsRegular() && !e.IsDir() {
		name = capabilityXattr
	}
	i := slices.IndexFunc(e.Xattrs, func(x Xattr) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	value := e.Xattrs[i].Value
	e.Xattrs = slices.Delete(e.Xattrs, i, i+1)
	if name == capabilityXattr {
		if len(value) != capLength2 {
			return fmt.Errorf("%s is no owner: %x", name, value)
		}
		e.UID, e.GID = binary.LittleEndian.Uint32(value[4:]), binary.LittleEndian.Uint32(value[8:])
		return nil
	}
	u, g, _ := strings.Cut(string(value), ":")
	uid, uidErr := strconv.ParseUint(u, 10, 32)
	gid, gidErr := strconv.ParseUint(g, 10, 32)
	if uidErr != nil || gidErr != nil {
		return fmt.Errorf("%s is no owner: %q", name, value)
	}
	e.UID, e.GID = uint32(uid), uint32(gid)
	return nil
}
