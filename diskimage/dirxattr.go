// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
)

// xattrReader reads extended attributes, for one goroutine. Its zero value is ready for use.
type xattrReader struct {
	owners bool // also read those of package ownerxattr
	buf    []byte
	noCall bool // the kernel has no listxattrat(2)
}

// read reads the extended attributes of base in dir, without following a link.
func (r *xattrReader) read(dir openDir, base string) ([]Xattr, error) {
	list, err := r.list(dir, base)
	if errors.Is(err, unix.ENOTSUP) || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	names := strings.Split(strings.TrimRight(string(list), "\x00"), "\x00")
	slices.Sort(names)
	var xattrs []Xattr
	for _, name := range names {
		if !keepXattr(name) && (!r.owners || !ownerxattr.Is(name)) {
			continue
		}
		value, err := r.growing(func(b []byte) (int, error) { return unix.Lgetxattr(dir.path+base, name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not readable for us
		}
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		xattrs = append(xattrs, Xattr{Name: name, Value: plainXattr(name, bytes.Clone(value))})
	}
	return xattrs, nil
}

// list returns the names, each followed by a zero byte. Most files have none, so this and stat are
// the most frequent calls of a walk. Since Linux 6.13 it needs no detour through /proc.
func (r *xattrReader) list(dir openDir, base string) ([]byte, error) {
	if !r.noCall {
		list, err := r.growing(func(b []byte) (int, error) { return listxattrat(dir.fd, base, b) })
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) { // some seccomp filters return EPERM
			return list, err
		}
		r.noCall = true
	}
	return r.growing(func(b []byte) (int, error) { return unix.Llistxattr(dir.path+base, b) })
}

// listxattrat is listxattrat(2) for a name that is not followed.
func listxattrat(dir int, base string, b []byte) (int, error) {
	name, err := unix.BytePtrFromString(base)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(name)),
		unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// growing calls a system call that fills a buffer, and enlarges the buffer until the result fits.
// The result is valid until the next call.
func (r *xattrReader) growing(call func([]byte) (int, error)) ([]byte, error) {
	const first, most = 256, 1 << 20
	if r.buf == nil {
		r.buf = make([]byte, first)
	}
	for {
		n, err := call(r.buf)
		if errors.Is(err, unix.ERANGE) && len(r.buf) < most {
			r.buf = make([]byte, 4*len(r.buf))
			continue
		}
		if err != nil {
			return nil, err
		}
		return r.buf[:n], nil
	}
}

// capabilityXattr holds the capabilities of a program.
const capabilityXattr = "security.capability"

// keepXattr reports whether an extended attribute belongs in an image: file capabilities, access
// control lists and the users' own attributes do. Attributes of this host (security labels,
// trusted.*) and of the container storage that holds the tree do not, nor do those of package
// ownerxattr.
func keepXattr(name string) bool {
	switch {
	case name == capabilityXattr, acl.IsName(name):
		return true
	case strings.HasPrefix(name, "user.overlay."), strings.HasPrefix(name, "user.fuseoverlayfs."),
		strings.HasPrefix(name, "user.containers."), ownerxattr.Is(name):
		return false
	default:
		return strings.HasPrefix(name, "user.")
	}
}

// The forms of security.capability (linux/capability.h, struct vfs_cap_data and vfs_ns_cap_data).
// Version 3 is version 2 followed by the root user of the namespace in which it is valid.
const (
	capRevisionMask = 0xff000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capLength2      = 20
	capLength3      = 24
)

// plainXattr returns the value that an attribute has outside any user namespace: capabilities that
// are valid for user 0 become version 2. (The kernel does the same for a reader inside the
// namespace.)
func plainXattr(name string, value []byte) []byte {
	if name != capabilityXattr || len(value) != capLength3 {
		return value
	}
	magic := binary.LittleEndian.Uint32(value)
	if magic&capRevisionMask != capRevision3 || binary.LittleEndian.Uint32(value[capLength2:]) != 0 {
		return value
	}
	value = bytes.Clone(value[:capLength2])
	binary.LittleEndian.PutUint32(value, magic&^capRevisionMask|capRevision2)
	return value
}
