// SPDX-License-Identifier: Apache-2.0

// Package xattr converts extended attributes to and from their form on disk, which ext4 and f2fs share:
// a number instead of the prefix of the name, and access control lists without the IDs that mean nothing.
package xattr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
)

// Index is the number that stands for the prefix of a name.
type Index uint8

// Indexes of prefixes, the same in fs/ext4/xattr.h and fs/f2fs/xattr.h.
const (
	User       Index = 1
	ACLAccess  Index = 2 // the whole name
	ACLDefault Index = 3 // the whole name
	Trusted    Index = 4
	Security   Index = 6
)

// prefixes lists the prefixes that are read and written (ext4_xattr_handler_map, f2fs_xattr_handler_map).
var prefixes = []struct {
	index  Index
	prefix string
}{
	{User, "user."}, {ACLAccess, acl.Access}, {ACLDefault, acl.Default}, {Trusted, "trusted."}, {Security, "security."},
}

// maxName is XATTR_NAME_MAX.
const maxName = 255

// Attr is one attribute in its form on disk.
type Attr struct {
	Index Index
	Name  string // without the prefix
	Value []byte
}

// isACL reports whether the attribute is an access control list, whose name is all prefix.
func (i Index) isACL() bool { return i == ACLAccess || i == ACLDefault }

// Encode converts the attributes of one inode to their form on disk.
func Encode(list []diskimage.Xattr) ([]Attr, error) {
	attrs := make([]Attr, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, x := range list {
		if seen[x.Name] {
			return nil, fmt.Errorf("extended attribute %q appears twice", x.Name)
		}
		seen[x.Name] = true
		a, err := encode(x)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %q: %w", x.Name, err)
		}
		attrs = append(attrs, a)
	}
	return attrs, nil
}

// encode converts one attribute.
func encode(x diskimage.Xattr) (Attr, error) {
	for _, p := range prefixes {
		name, ok := strings.CutPrefix(x.Name, p.prefix)
		if !ok || (name == "") != p.index.isACL() {
			continue
		}
		if len(name) > maxName || strings.ContainsRune(name, 0) {
			return Attr{}, errors.New("invalid name")
		}
		if !p.index.isACL() {
			return Attr{p.index, name, x.Value}, nil
		}
		list, err := acl.Parse(x.Value)
		if err != nil {
			return Attr{}, err
		}
		return Attr{p.index, name, list.Disk()}, nil
	}
	return Attr{}, errors.New("the file system cannot store names with this prefix")
}

// FullName returns the name with its prefix, and false for an unknown index.
func (a Attr) FullName() (name string, known bool) {
	for _, p := range prefixes {
		if p.index == a.Index {
			return p.prefix + a.Name, true
		}
	}
	return a.Name, false
}

// Decode converts an attribute from its form on disk. The index must be known.
func (a Attr) Decode() (diskimage.Xattr, error) {
	name, _ := a.FullName()
	if !a.Index.isACL() {
		return diskimage.Xattr{Name: name, Value: a.Value}, nil
	}
	list, err := acl.ParseDisk(a.Value)
	if err != nil {
		return diskimage.Xattr{}, fmt.Errorf("extended attribute %q: %w", name, err)
	}
	return diskimage.Xattr{Name: name, Value: list.Xattr()}, nil
}
