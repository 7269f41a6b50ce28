// SPDX-License-Identifier: Apache-2.0

package f2fsread

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"
)

const (
	// inlineExtra is the flag of inodes with more fields, which are before the addresses (F2FS_EXTRA_ATTR).
	inlineExtra disk.InlineFlags = 0x20
	// adviceEncrypted is FADVISE_ENCRYPT_BIT.
	adviceEncrypted = 0x04
	// Addresses without a block: reserved ones, and the first one of a compressed cluster.
	newBlock        = 1<<32 - 1
	compressedBlock = 1<<32 - 2
)

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return fsread.Walk(fs.sb.RootInode, source{fs})
}

// source reads inodes by their numbers.
type source struct{ *FileSystem }

// inode is an inode with its block.
type inode struct {
	disk.Inode
	fs     *FileSystem
	number uint32
	raw    []byte
	extra  int // bytes of more fields
	xattrs int // bytes for attributes
}

// inode reads an inode.
func (s source) inode(number uint32) (*inode, error) {
	raw, footer, err := s.node(number)
	if err != nil {
		return nil, err
	}
	n := &inode{fs: s.FileSystem, number: number, raw: raw}
	disk.Get(raw, &n.Inode)
	if footer.Inode != number {
		return nil, fsread.Damaged("inode %d is a node of inode %d", number, footer.Inode)
	}
	if n.Inline&inlineExtra != 0 {
		n.extra = int(binary.LittleEndian.Uint16(raw[disk.InodeSize:]))
	}
	switch {
	case s.sb.Feature&featureFlexibleXattr != 0 && n.extra > 0:
		n.xattrs = int(binary.LittleEndian.Uint16(raw[disk.InodeSize+2:])) * disk.AddrSize
	case n.Inline&(disk.InlineXattrs|disk.InlineEntries) != 0:
		n.xattrs = disk.InlineXattrSize
	}
	if n.extra%disk.AddrSize != 0 || n.extra+n.xattrs+2*disk.AddrSize > disk.InodeAddrs*disk.AddrSize {
		return nil, fsread.Damaged("inode %d has %d bytes of fields and %d of attributes", number, n.extra, n.xattrs)
	}
	if n.Advice&adviceEncrypted != 0 {
		return nil, errors.New("encrypted files are not supported")
	}
	return n, nil
}

// addresses is the part of the inode with the addresses of blocks.
func (n *inode) addresses() []byte {
	return n.raw[disk.InodeSize+n.extra : disk.InodeNodesOffset-n.xattrs]
}

// inline is the same part as the place of small contents, whose first address stays zero.
func (n *inode) inline() []byte { return n.addresses()[disk.AddrSize:] }

// Inode implements fsread.Source.
func (s source) Inode(number uint32) (fsread.Inode, error) {
	n, err := s.inode(number)
	if err != nil {
		return fsread.Inode{}, err
	}
	out := fsread.Inode{Links: n.Links, Entry: diskimage.Entry{Mode: uint32(n.Mode), UID: n.UID, GID: n.GID,
		ModTime: time.Unix(int64(n.ModifyTime), int64(n.ModifyNsec))}}
	e := &out.Entry
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c, err := n.content()
		if err != nil {
			return out, err
		}
		c.Fill(e)
		e.Immutable = n.Flags&disk.FlagImmutable != 0
	case unix.S_IFLNK:
		c, err := n.content()
		if err == nil && c.Size > fsread.MaxLink {
			err = fsread.Damaged("a symbolic link of %d bytes", c.Size)
		}
		if err != nil {
			return out, err
		}
		text := make([]byte, c.Size)
		if err := fsread.ReadFull(c, text, 0); err != nil && c.Size > 0 {
			return out, err
		}
		e.Linkname = string(text)
	case unix.S_IFCHR, unix.S_IFBLK:
		a := n.addresses()
		if old := binary.LittleEndian.Uint32(a); old != 0 {
			e.Major, e.Minor = old>>8&0xff, old&0xff // old_decode_dev
		} else {
			e.Major, e.Minor = fsread.DeviceNumber(binary.LittleEndian.Uint32(a[disk.AddrSize:]))
		}
	}
	e.Xattrs, err = n.attributes()
	return out, err
}

// content returns the content of a file, link or directory.
func (n *inode) content() (*fsread.Content, error) {
	const maxFile = 1 << 43
	if n.Size > maxFile {
		return nil, fsread.Damaged("inode %d has %d bytes", n.number, n.Size)
	}
	c := &fsread.Content{R: n.fs.r, Size: int64(n.Size)}
	if n.Inline&disk.InlineData != 0 {
		data := n.inline()
		if c.Size > int64(len(data)) {
			return nil, fsread.Damaged("inode %d has %d bytes in itself", n.number, c.Size)
		}
		c.Pieces = []fsread.Piece{{Length: c.Size, Load: func() ([]byte, error) { return data, nil }}}
		return c, nil
	}
	m := blockMap{inode: n, content: c, nodes: map[uint32]bool{}}
	if err := m.add(n.addresses()); err != nil {
		return nil, err
	}
	for i, level := range []int{0, 0, 1, 1, 2} {
		number := binary.LittleEndian.Uint32(n.raw[disk.InodeNodesOffset+i*disk.AddrSize:])
		if err := m.node(number, level); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// blockMap collects the blocks of a file.
type blockMap struct {
	*inode
	content *fsread.Content
	next    uint64          // block of the file that the next address is for
	nodes   map[uint32]bool // none may be there twice
}

// add adds the blocks of addresses.
func (m *blockMap) add(addresses []byte) error {
	for ; len(addresses) >= disk.AddrSize; addresses = addresses[disk.AddrSize:] {
		at, offset := binary.LittleEndian.Uint32(addresses), int64(m.next)*disk.BlockSize
		m.next++
		switch {
		case offset >= m.content.Size:
			return nil
		case at == 0 || at == newBlock:
			continue
		case at == compressedBlock:
			return errors.New("compressed files are not supported")
		}
		if err := m.fs.inMain(at); err != nil {
			return err
		}
		p := fsread.Piece{Offset: offset, Length: disk.BlockSize, Disk: int64(at) * disk.BlockSize}
		if i := len(m.content.Pieces) - 1; i >= 0 {
			if last := &m.content.Pieces[i]; last.Offset+last.Length == offset && last.Disk+last.Length == p.Disk {
				last.Length += disk.BlockSize
				continue
			}
		}
		m.content.Pieces = append(m.content.Pieces, p)
	}
	return nil
}

// node adds the blocks of a node with addresses, or with numbers of nodes that have them.
func (m *blockMap) node(number uint32, level int) error {
	span := uint64(disk.NodeAddrs)
	for range level {
		span *= disk.NodeAddrs
	}
	if number == 0 || int64(m.next)*disk.BlockSize >= m.content.Size {
		m.next += span
		return nil
	}
	if m.nodes[number] {
		return fsread.Damaged("inode %d has node %d twice", m.number, number)
	}
	m.nodes[number] = true
	raw, footer, err := m.fs.node(number)
	if err != nil {
		return err
	}
	if footer.Inode != m.number {
		return fsread.Damaged("node %d of inode %d is one of inode %d", number, m.number, footer.Inode)
	}
	end := m.next + span
	addresses := raw[:disk.NodeAddrs*disk.AddrSize]
	if level == 0 {
		err = m.add(addresses)
	}
	for i := 0; level > 0 && i < len(addresses) && err == nil; i += disk.AddrSize {
		err = m.node(binary.LittleEndian.Uint32(addresses[i:]), level-1)
	}
	m.next = end
	return err
}

// Names implements fsread.Source.
func (s source) Names(number uint32) ([]fsread.Name[uint32], error) {
	n, err := s.inode(number)
	if err != nil {
		return nil, err
	}
	if n.Inline&disk.InlineEntries != 0 {
		return appendNames(nil, n.inline())
	}
	c, err := n.content()
	if err != nil {
		return nil, err
	}
	if c.Size > fsread.MaxDirectory {
		return nil, fsread.Damaged("a directory of %d bytes", c.Size)
	}
	var names []fsread.Name[uint32]
	for _, p := range c.Pieces { // the rest are holes
		for at := p.Offset; at < p.Offset+p.Length; at += disk.BlockSize {
			block, err := fsread.Read(c, at, disk.BlockSize)
			if err == nil {
				names, err = appendNames(names, block)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// appendNames reads a block of a directory, or an inode with one: a bitmap of slots, entries, and names
// (make_dentry_ptr_block, make_dentry_ptr_inline).
func appendNames(names []fsread.Name[uint32], area []byte) ([]fsread.Name[uint32], error) {
	const slotBits = (disk.DirEntrySize+disk.SlotSize)*8 + 1
	slots := len(area) * 8 / slotBits
	texts := len(area) - slots*disk.SlotSize
	entries := texts - slots*disk.DirEntrySize
	for i := 0; i < slots; {
		if area[i/8]>>(i%8)&1 == 0 {
			i++
			continue
		}
		var e disk.DirEntry
		disk.Get(area[entries+i*disk.DirEntrySize:], &e)
		at := texts + i*disk.SlotSize
		if e.NameLength == 0 || at+int(e.NameLength) > len(area) {
			return nil, fsread.Damaged("a name of %d bytes", e.NameLength)
		}
		name := string(area[at : at+int(e.NameLength)])
		if name != "." && name != ".." {
			names = append(names, fsread.Name[uint32]{Name: name, Inode: e.Inode, Type: fsread.FileType(uint8(e.Type))})
		}
		i += disk.Slots(int(e.NameLength))
	}
	return names, nil
}

// attributes returns the extended attributes, which begin in the inode and go on in a node.
func (n *inode) attributes() ([]diskimage.Xattr, error) {
	row := bytes.Clone(n.raw[disk.InodeNodesOffset-n.xattrs : disk.InodeNodesOffset])
	if n.XattrNode != 0 {
		raw, footer, err := n.fs.node(n.XattrNode)
		if err != nil {
			return nil, err
		}
		if footer.Inode != n.number {
			return nil, fsread.Damaged("the attributes of inode %d are those of inode %d", n.number, footer.Inode)
		}
		row = append(row, raw[:disk.XattrNodeSize]...)
	}
	if len(row) < disk.XattrHeaderSize || binary.LittleEndian.Uint32(row) != disk.XattrMagic {
		return nil, nil
	}
	var all []diskimage.Xattr
	for rest := row[disk.XattrHeaderSize:]; len(rest) >= disk.XattrEntrySize && binary.LittleEndian.Uint32(rest) != 0; {
		var e disk.XattrEntry
		disk.Get(rest, &e)
		end := disk.XattrEntrySize + int(e.NameLength) + int(e.ValueSize)
		if end > len(rest) {
			return nil, fsread.Damaged("the attributes of inode %d are longer than their place", n.number)
		}
		name := string(rest[disk.XattrEntrySize : disk.XattrEntrySize+int(e.NameLength)])
		a := xattr.Attr{Index: e.NameIndex, Name: name,
			Value: bytes.Clone(rest[disk.XattrEntrySize+int(e.NameLength) : end])}
		if _, known := a.FullName(); known {
			x, err := a.Decode()
			if err != nil {
				return nil, err
			}
			all = append(all, x)
		}
		rest = rest[min((end+3)&^3, len(rest)):]
	}
	return all, nil
}
