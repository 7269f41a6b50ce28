// SPDX-License-Identifier: Apache-2.0

package squashfs

import (
	"encoding/binary"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return fsread.Walk(fs.sb.RootInode, source{fs})
}

// source reads inodes by their references.
type source struct{ *FileSystem }

// types are the types in directories and inodes, as in st_mode.
var types = map[uint16]uint32{typeDir: unix.S_IFDIR, typeFile: unix.S_IFREG, typeLink: unix.S_IFLNK,
	typeBlockDevice: unix.S_IFBLK, typeCharDevice: unix.S_IFCHR, typeFIFO: unix.S_IFIFO, typeSocket: unix.S_IFSOCK}

// kindOf returns the type of an inode in its first form.
func kindOf(t uint16) uint16 {
	if t > extendedType {
		return t - extendedType
	}
	return t
}

// open reads the header of an inode.
func (s source) open(reference uint64) (h inodeHeader, m *metadataReader, err error) {
	m = s.metadataAt(s.sb.InodeTable, reference)
	if err := m.get(&h); err != nil {
		return h, m, err
	}
	if types[kindOf(h.Type)] == 0 {
		return h, m, fsread.Damaged("an inode of type %d", h.Type)
	}
	return h, m, nil
}

// Inode implements fsread.Source.
func (s source) Inode(reference uint64) (n fsread.Inode, err error) {
	h, m, err := s.open(reference)
	if err != nil {
		return n, err
	}
	e := &n.Entry
	e.Mode = types[kindOf(h.Type)] | uint32(h.Mode&0o7777)
	e.ModTime = time.Unix(int64(h.ModifyTime), 0)
	if int(h.UID) >= len(s.ids) || int(h.GID) >= len(s.ids) {
		return n, fsread.Damaged("its owner is not in the table")
	}
	e.UID, e.GID = s.ids[h.UID], s.ids[h.GID]
	xattr := uint32(none)
	switch kindOf(h.Type) {
	case typeFile:
		n.Links, xattr, err = s.file(m, h.Type, e)
	case typeDir:
		if h.Type > extendedType {
			var d extendedDirInode
			err = m.get(&d)
			xattr = d.Xattr
		}
	case typeLink:
		var l linkInode
		if err = m.get(&l); err == nil && l.Size > fsread.MaxLink {
			err = fsread.Damaged("a symbolic link of %d bytes", l.Size)
		}
		if err == nil {
			n.Links, e.Linkname = l.Links, string(m.bytes(int(l.Size)))
		}
	case typeBlockDevice, typeCharDevice:
		var d deviceInode
		err = m.get(&d)
		n.Links = d.Links
		e.Major, e.Minor = fsread.DeviceNumber(d.Device)
	default:
		err = m.get(&n.Links)
	}
	if err == nil && h.Type > extendedType && kindOf(h.Type) > typeFile {
		err = m.get(&xattr)
	}
	if err == nil {
		err = m.err
	}
	if err == nil && xattr != none {
		e.Xattrs, err = s.attributes(xattr)
	}
	return n, err
}

// file reads the rest of the inode of a regular file, and sets its content.
func (s source) file(m *metadataReader, kind uint16, e *diskimage.Entry) (links, xattr uint32, err error) {
	f := extendedFileInode{Links: 1, Xattr: none}
	if kind > extendedType {
		err = m.get(&f)
	} else {
		var short fileInode
		err = m.get(&short)
		f.StartBlock, f.Size = uint64(short.StartBlock), uint64(short.Size)
		f.Fragment, f.Offset = short.Fragment, short.Offset
	}
	if err != nil {
		return 0, 0, err
	}
	blockSize := uint64(s.sb.BlockSize)
	// A block of zeros takes four bytes of metadata, so that 8192 such bytes describe 2 GiB at most.
	const maxFile = 1 << 46
	if f.Size > maxFile {
		return 0, 0, fsread.Damaged("a file of %d bytes", f.Size)
	}
	blocks := f.Size / blockSize
	if f.Fragment == none {
		blocks = (f.Size + blockSize - 1) / blockSize
	}
	c := &fsread.Content{R: s.r, Size: int64(f.Size)}
	at := f.StartBlock
	for i := range blocks {
		raw := m.bytes(size(uint32(0)))
		if m.err != nil {
			return 0, 0, m.err
		}
		length := binary.LittleEndian.Uint32(raw)
		if length == 0 {
			continue // a hole
		}
		start := at
		p := fsread.Piece{Offset: int64(i * blockSize), Length: int64(min(blockSize, f.Size-i*blockSize)), Disk: int64(start)}
		if length&rawData == 0 {
			p.Load = func() ([]byte, error) { return s.data(start, length) }
		} else if int64(length&^rawData) != p.Length {
			return 0, 0, fsread.Damaged("a block of %d bytes for %d", length&^rawData, p.Length)
		}
		c.Pieces = append(c.Pieces, p)
		if at += uint64(length &^ rawData); at > s.sb.BytesUsed {
			return 0, 0, fsread.Damaged("its content is outside of the file system")
		}
	}
	if rest := f.Size - blocks*blockSize; f.Fragment != none && rest > 0 {
		if uint64(f.Fragment) >= uint64(len(s.fragments)) {
			return 0, 0, fsread.Damaged("fragment %d does not exist", f.Fragment)
		}
		fragment := s.fragments[f.Fragment]
		c.Pieces = append(c.Pieces, fsread.Piece{Offset: int64(blocks * blockSize), Length: int64(rest),
			Skip: int64(f.Offset), Load: func() ([]byte, error) { return s.data(fragment.Start, fragment.Size) }})
	}
	c.Fill(e)
	return f.Links, f.Xattr, nil
}

// Names implements fsread.Source.
func (s source) Names(reference uint64) ([]fsread.Name[uint64], error) {
	h, m, err := s.open(reference)
	if err != nil {
		return nil, err
	}
	var d extendedDirInode
	if h.Type > extendedType {
		err = m.get(&d)
	} else {
		var short dirInode
		err = m.get(&short)
		d.Size, d.StartBlock, d.Offset = uint32(short.Size), short.StartBlock, short.Offset
	}
	const sizeOfEmpty = 3 // "." and "..", which are not there
	if err != nil || d.Size <= sizeOfEmpty {
		return nil, err
	}
	if d.Size > fsread.MaxDirectory {
		return nil, fsread.Damaged("a directory of %d bytes", d.Size)
	}
	m = s.metadataAt(s.sb.DirTable, uint64(d.StartBlock)<<16|uint64(d.Offset))
	var names []fsread.Name[uint64]
	for rest := int(d.Size) - sizeOfEmpty; rest > 0 && m.err == nil; {
		const maxCount = 256
		var header dirHeader
		if err := m.get(&header); err != nil {
			return nil, err
		}
		if rest -= size(header); header.Count >= maxCount {
			return nil, fsread.Damaged("the directory has a run of %d names", header.Count)
		}
		for range header.Count + 1 {
			var e dirEntry
			if err := m.get(&e); err != nil {
				return nil, err
			}
			length := int(e.NameSize) + 1
			if rest -= size(e) + length; rest < 0 {
				return nil, fsread.Damaged("the directory ends within a name")
			}
			names = append(names, fsread.Name[uint64]{Name: string(m.bytes(length)), Type: types[e.Type],
				Inode: uint64(header.StartBlock)<<16 | uint64(e.Offset)})
		}
	}
	return names, m.err
}

// attributes returns the extended attributes of a number.
func (s source) attributes(number uint32) ([]diskimage.Xattr, error) {
	if uint64(number) >= uint64(len(s.xattrIDs)) {
		return nil, fsread.Damaged("its extended attributes do not exist")
	}
	const maxAttributes = 1 << 16
	id := s.xattrIDs[number]
	if id.Count > maxAttributes {
		return nil, fsread.Damaged("%d extended attributes", id.Count)
	}
	var all []diskimage.Xattr
	m := s.metadataAt(s.xattrs, id.Reference)
	for range id.Count {
		var e xattrEntry
		if err := m.get(&e); err != nil {
			return nil, err
		}
		name := string(m.bytes(int(e.NameSize)))
		value, err := s.value(m, e.Type&xattrOutside != 0)
		if err != nil {
			return nil, err
		}
		kind := int(e.Type & xattrTypes)
		if kind >= len(xattrPrefixes) {
			return nil, fsread.Damaged("an extended attribute of type %d", kind)
		}
		all = append(all, diskimage.Xattr{Name: xattrPrefixes[kind] + name, Value: value})
	}
	return all, nil
}

// value reads the value of an attribute, or the reference to one that several files share.
func (s source) value(m *metadataReader, outside bool) ([]byte, error) {
	const maxValue = 1 << 16 // XATTR_SIZE_MAX
	var length uint32
	if err := m.get(&length); err != nil {
		return nil, err
	}
	if outside {
		var reference uint64
		if err := m.get(&reference); err != nil {
			return nil, err
		}
		return s.value(s.metadataAt(s.xattrs, reference), false)
	}
	if length > maxValue {
		return nil, fsread.Damaged("an extended attribute of %d bytes", length)
	}
	value := m.bytes(int(length))
	if value == nil {
		value = []byte{}
	}
	return value, m.err
}
