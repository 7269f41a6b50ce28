package oci

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// An access control list names users and groups, too, and the kernel refuses one with ids that are not there. It is then
// kept in an attribute of users instead, as it was given, while the mode of the file says what it would say with it.

// Attributes that hold access control lists, and the notes that stand for them. Package diskimage knows them, too.
const (
	aclAccess      = "system.posix_acl_access"
	aclDefault     = "system.posix_acl_default"
	aclAccessNote  = "user.vmdebootstrap.posix_acl_access"
	aclDefaultNote = "user.vmdebootstrap.posix_acl_default"
)

// aclNotes says which note stands for which attribute.
var aclNotes = map[string]string{aclAccess: aclAccessNote, aclDefault: aclDefaultNote}

// acl is a list in the form of those attributes: linux/posix_acl_xattr.h.
type acl []byte

// Where things are in an acl, and what the entries are about.
const (
	aclHeader  = 4 // the version
	aclVersion = 2
	aclEntry   = 8 // tag and permissions of 2 bytes each, id

	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// well reports whether a list has the right form.
func (a acl) well() bool {
	return len(a) >= aclHeader && (len(a)-aclHeader)%aclEntry == 0 && binary.LittleEndian.Uint32(a) == aclVersion
}

// entry gives the place of the first entry with a tag, after the header; -1 if there is none.
func (a acl) entry(tag uint16) int {
	for i := aclHeader; i+aclEntry <= len(a); i += aclEntry {
		if binary.LittleEndian.Uint16(a[i:]) == tag {
			return i
		}
	}
	return -1
}

// namesOthers reports whether a list is about users or groups beside root.
func (a acl) namesOthers() bool {
	for i := aclHeader; i+aclEntry <= len(a); i += aclEntry {
		tag := binary.LittleEndian.Uint16(a[i:])
		if (tag == aclUser || tag == aclGroup) && binary.LittleEndian.Uint32(a[i+4:]) != 0 {
			return true
		}
	}
	return false
}

// classes are the entries that are the same as the bits of the mode, with the place of their bits: a mask stands for the
// group.
func (a acl) classes() map[int]int {
	group := a.entry(aclMask)
	if group < 0 {
		group = a.entry(aclGroupObj)
	}
	return map[int]int{a.entry(aclUserObj): 6, group: 3, a.entry(aclOther): 0}
}

// permissions are the nine bits of a mode.
func (a acl) permissions() (mode uint32) {
	for at, shift := range a.classes() {
		if at >= 0 {
			mode |= uint32(binary.LittleEndian.Uint16(a[at+2:])&7) << shift
		}
	}
	return mode
}

// withMode is the list of a file whose mode has been set since.
func (a acl) withMode(mode uint32) acl {
	a = slices.Clone(a)
	for at, shift := range a.classes() {
		if at >= 0 {
			binary.LittleEndian.PutUint16(a[at+2:], uint16(mode>>shift&7))
		}
	}
	return a
}

// notedACL reads a note of an open file; nil if there is none.
func notedACL(fd int, note string) (acl, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Getxattr(procPath(fd), note, buf)
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
		case err != nil:
			return nil, &lostOwner{err}
		default:
			return acl(buf[:n]), nil
		}
	}
}

// noteACL gives an open file a list that the kernel cannot keep.
func noteACL(fd int, name string, list acl) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if !holdsUserXattrs(st.Mode) {
		return unix.EOPNOTSUPP
	}
	path := procPath(fd)
	if err := unix.Removexattr(path, name); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	if name == aclAccess {
		if err := unix.Chmod(path, st.Mode&^0o777&0o7777|list.permissions()); err != nil {
			return err
		}
	}
	if err := unix.Setxattr(path, aclNotes[name], list, 0); err != nil {
		return &lostOwner{err}
	}
	return nil
}

// inheritACL gives a new file what the default list of its directory says, and the mode that it then has. mode is what
// its maker asked for, without regard to the umask.
func inheritACL(fd int, list acl, mode uint32, dir bool) (uint32, error) {
	mode = mode&^0o777 | mode&list.permissions()
	if dir {
		if err := noteACL(fd, aclDefault, list); err != nil {
			return mode, err
		}
	}
	return mode, noteACL(fd, aclAccess, list.withMode(mode))
}

// xattr answers calls about access control lists that name others than root.
func (s *supervisor) xattr(q *seccompNotification, c call) (int64, error) {
	name, err := readString(q.PID, q.Data.Args[c.arg])
	note, ok := aclNotes[name]
	if err != nil || !ok {
		return 0, errLeave
	}
	fd, err := s.open(q, c)
	if err != nil {
		return 0, errLeave
	}
	defer unix.Close(fd)
	noted, err := notedACL(fd, note)
	if err != nil {
		return 0, err
	}
	var value, size uint64
	if c.op != opRemovexattr {
		value, size = q.Data.Args[c.arg+1], q.Data.Args[c.arg+2]
	}
	switch c.op {
	case opSetxattr:
		const most = 1 << 16 // XATTR_SIZE_MAX
		list := make(acl, min(size, most))
		if err := readMemory(q.PID, value, list); err != nil {
			return 0, err
		}
		if list.well() && list.namesOthers() {
			return 0, noteACL(fd, name, list)
		}
	case opGetxattr:
		if noted == nil {
			return 0, errLeave
		}
		if name == aclAccess {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return 0, errLeave
			}
			noted = noted.withMode(st.Mode)
		}
		switch {
		case size == 0:
			return int64(len(noted)), nil
		case size < uint64(len(noted)):
			return 0, unix.ERANGE
		}
		return int64(len(noted)), writeMemory(q.PID, value, noted)
	}
	if noted == nil {
		return 0, errLeave
	}
	// It is replaced by one that the kernel can keep, or removed.
	if err := unix.Removexattr(procPath(fd), note); err != nil {
		return 0, &lostOwner{err}
	}
	if c.op == opRemovexattr {
		return 0, nil
	}
	return 0, errLeave
}
