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
