// SPDX-License-Identifier: Apache-2.0

package xfs

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// aclNames are the names of access control lists, which are attributes of root.
var aclNames = map[string]string{"SGI_ACL_FILE": acl.Access, "SGI_ACL_DEFAULT": acl.Default}

// attributes returns the extended attributes of an inode.
func (n *inode) attributes() ([]diskimage.Xattr, error) {
	switch {
	case n.ForkOffset == 0 || n.AttrFormat == formatExtents && n.AttrExtents == 0 &&
		(n.Flags2&flagLargeExtents == 0 || n.Extents == 0):
		return nil, nil
	case n.AttrFormat == formatLocal:
		return n.shortAttributes()
	}
	extents, err := n.attrExtents()
	if err != nil {
		return nil, err
	}
	mapped, err := n.fs.logicalBlocks(extents, 1<<32)
	if err != nil {
		return nil, err
	}
	blocks := map[uint32]uint64{}
	for _, x := range mapped {
		blocks[uint32(x.file)] = x.block
	}
	at, err := n.firstLeaf(blocks)
	if err != nil {
		return nil, err
	}
	var all []diskimage.Xattr
	for seen := 0; ; seen++ {
		raw, h, body, err := n.attrBlock(blocks, at)
		if err != nil {
			return nil, err
		}
		if h.Magic != oldLeaf && h.Magic != newLeaf || seen > len(blocks) {
			return nil, fsread.Damaged("the attributes of inode %d are in a circle", n.number)
		}
		if all, err = n.appendLeaf(all, blocks, raw, body); err != nil {
			return nil, err
		}
		if at = h.Forward; at == 0 {
			return all, nil
		}
	}
}

// appendAttr adds an attribute, unless it is one of XFS itself.
func appendAttr(all []diskimage.Xattr, flags uint8, name string, value []byte) ([]diskimage.Xattr, error) {
	const namespaces = attrRoot | attrSecure | attrParent
	if flags&attrIncomplete != 0 {
		return all, nil
	}
	x := diskimage.Xattr{Value: append([]byte{}, value...)}
	switch flags & namespaces {
	case 0:
		x.Name = "user." + name
	case attrSecure:
		x.Name = "security." + name
	case attrRoot:
		x.Name = "trusted." + name
		if known := aclNames[name]; known != "" {
			list, err := acl.ParseXFS(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", known, err)
			}
			x = diskimage.Xattr{Name: known, Value: list.Xattr()}
		}
	default:
		return all, nil
	}
	return append(all, x), nil
}

// shortAttributes returns the attributes that are in the inode.
func (n *inode) shortAttributes() (all []diskimage.Xattr, err error) {
	const headerSize, entrySize = 4, 3
	if len(n.attr) < headerSize {
		return nil, fsread.Damaged("the attributes of inode %d are too short", n.number)
	}
	b := n.attr[headerSize:]
	for range n.attr[2] {
		if len(b) < entrySize || len(b) < entrySize+int(b[0])+int(b[1]) {
			return nil, fsread.Damaged("the attributes of inode %d are too short", n.number)
		}
		name, value := entrySize+int(b[0]), entrySize+int(b[0])+int(b[1])
		if all, err = appendAttr(all, b[2], string(b[entrySize:name]), b[name:value]); err != nil {
			return nil, err
		}
		b = b[value:]
	}
	return all, nil
}

// attrBlock reads a block of attributes, and returns it, its header, and what follows.
func (n *inode) attrBlock(blocks map[uint32]uint64, at uint32) (raw []byte, h daHeader, body []byte, err error) {
	block, ok := blocks[at]
	if !ok {
		return nil, h, nil, fsread.Damaged("block %d of the attributes of inode %d does not exist", at, n.number)
	}
	if raw, err = n.fs.blocks(block, 1); err != nil {
		return nil, h, nil, err
	}
	decode(raw, &h)
	if !n.fs.sums {
		return raw, h, raw[oldDAHeader:], nil
	}
	if h.Owner != n.number {
		return nil, h, nil, fsread.Damaged("a block of the attributes of inode %d is that of another", n.number)
	}
	if !valid(raw, daChecksum) {
		return nil, h, nil, errChecksum
	}
	return raw, h, raw[binary.Size(h):], nil
}

// firstLeaf descends from the root, which is block 0, to the first leaf.
func (n *inode) firstLeaf(blocks map[uint32]uint64) (at uint32, err error) {
	const maxLevel, firstBefore = 5, 8 // the header of a node has four or eight bytes, an entry a hash and a block
	for range maxLevel {
		_, h, body, err := n.attrBlock(blocks, at)
		if err != nil || h.Magic != oldNode && h.Magic != newNode {
			return at, err
		}
		if n.fs.sums {
			body = body[4:] // padding
		}
		at = binary.BigEndian.Uint32(body[firstBefore:])
	}
	return 0, fsread.Damaged("the attributes of inode %d have too many levels", n.number)
}

// appendLeaf adds the attributes of a leaf.
func (n *inode) appendLeaf(all []diskimage.Xattr, blocks map[uint32]uint64, raw, body []byte) (
	[]diskimage.Xattr, error) {
	const localSize, remoteSize = 3, 9
	var leaf attrLeaf
	var e attrEntry
	decode(body, &leaf)
	body = body[binary.Size(leaf):]
	if n.fs.sums {
		body = body[4:] // padding
	}
	damaged := fsread.Damaged("the attributes of inode %d", n.number)
	if int(leaf.Count)*binary.Size(e) > len(body) {
		return nil, damaged
	}
	var err error
	for i := range int(leaf.Count) {
		decode(body[i*binary.Size(e):], &e)
		fixed := localSize
		if e.Flags&attrLocal == 0 {
			fixed = remoteSize
		}
		if int(e.Offset)+fixed > len(raw) {
			return nil, damaged
		}
		b := raw[e.Offset:]
		var name string
		var value []byte
		if e.Flags&attrLocal != 0 {
			length, names := int(binary.BigEndian.Uint16(b)), int(b[2])
			if localSize+names+length > len(b) {
				return nil, damaged
			}
			name, value = string(b[localSize:localSize+names]), b[localSize+names:localSize+names+length]
		} else {
			names := int(b[8])
			if remoteSize+names > len(b) {
				return nil, damaged
			}
			name = string(b[remoteSize : remoteSize+names])
			if e.Flags&attrIncomplete == 0 {
				value, err = n.remoteValue(blocks, binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint32(b[4:])))
			}
		}
		if err == nil {
			all, err = appendAttr(all, e.Flags, name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// remoteValue reads a value that has blocks of its own.
func (n *inode) remoteValue(blocks map[uint32]uint64, at uint32, length int) ([]byte, error) {
	const maxValue = 1 << 16 // XATTR_SIZE_MAX
	if length > maxValue {
		return nil, fsread.Damaged("an attribute of %d bytes", length)
	}
	var value bytes.Buffer
	for ; value.Len() < length; at++ {
		block, ok := blocks[at]
		if !ok {
			return nil, fsread.Damaged("block %d of the attributes of inode %d does not exist", at, n.number)
		}
		raw, err := n.fs.blocks(block, 1)
		if err == nil && n.fs.sums {
			if raw, err = n.remote(raw, "XARM"); err == nil && len(raw) == 0 {
				err = fsread.Damaged("an empty block of an attribute of inode %d", n.number)
			}
		}
		if err != nil {
			return nil, err
		}
		value.Write(raw)
	}
	return value.Bytes()[:length], nil
}
