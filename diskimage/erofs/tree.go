// SPDX-License-Identifier: Apache-2.0

package erofs

import (
	"bytes"
	"encoding/binary"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return fsread.Walk(uint64(fs.sb.RootInode), source{fs})
}

// source reads inodes by their numbers.
type source struct{ *FileSystem }

// inode is an inode with its place.
type inode struct {
	extendedInode
	fs   *FileSystem
	at   int64 // on the disk
	size int64 // of the inode itself
}

// inode reads an inode.
func (s source) inode(number uint64) (*inode, error) {
	const most = 1 << 40
	n := &inode{fs: s.FileSystem, size: int64(binary.Size(compactInode{}))}
	if number > most {
		return nil, fsread.Damaged("inode %d does not exist", number)
	}
	n.at = int64(s.sb.MetaBlock)<<s.sb.BlockBits + int64(number)*slotSize
	var c compactInode
	if err := s.get(n.at, &c); err != nil {
		return nil, err
	}
	if c.Format&1 != 0 {
		n.size = int64(binary.Size(n.extendedInode))
		return n, s.get(n.at, &n.extendedInode)
	}
	n.extendedInode = extendedInode{Format: c.Format, Xattrs: c.Xattrs, Mode: c.Mode, Size: uint64(c.Size),
		Content: c.Content, UID: uint32(c.UID), GID: uint32(c.GID), Links: uint32(c.Links),
		Time: s.sb.Time, Nanoseconds: s.sb.Nanoseconds}
	return n, nil
}

// xattrSize is the number of bytes of attributes after the inode.
func (n *inode) xattrSize() int64 {
	if n.Xattrs == 0 {
		return 0
	}
	return int64(binary.Size(xattrHeader{})) + 4*int64(n.Xattrs-1)
}

// end is the offset of what follows the inode and its attributes.
func (n *inode) end() int64 { return n.at + n.size + n.xattrSize() }

// Inode implements fsread.Source.
func (s source) Inode(number uint64) (fsread.Inode, error) {
	n, err := s.inode(number)
	if err != nil {
		return fsread.Inode{}, err
	}
	out := fsread.Inode{Links: n.Links, Entry: diskimage.Entry{Mode: uint32(n.Mode), UID: n.UID, GID: n.GID,
		ModTime: time.Unix(int64(n.Time), int64(n.Nanoseconds))}}
	e := &out.Entry
	if e.Xattrs, err = n.attributes(); err != nil {
		return out, err
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c, err := n.content()
		if err != nil {
			return out, err
		}
		c.Fill(e)
	case unix.S_IFLNK:
		text, err := n.bytes(fsread.MaxLink)
		e.Linkname = string(text)
		return out, err
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = fsread.DeviceNumber(n.Content)
	}
	return out, nil
}

// bytes returns the whole content, which has at most most bytes.
func (n *inode) bytes(most uint64) ([]byte, error) {
	if n.Size > most {
		return nil, fsread.Damaged("%d bytes of content", n.Size)
	}
	c, err := n.content()
	if err != nil || n.Size == 0 {
		return nil, err
	}
	return fsread.Read(c, 0, int(n.Size))
}

// content returns the content of a file, link or directory.
func (n *inode) content() (*fsread.Content, error) {
	const maxFile = 1 << 46
	if n.Size > maxFile {
		return nil, fsread.Damaged("a file of %d bytes", n.Size)
	}
	c := &fsread.Content{R: n.fs.r, Size: int64(n.Size)}
	if n.Size == 0 {
		return c, nil
	}
	start := int64(n.Content) << n.fs.sb.BlockBits
	switch layout := n.Format >> 1 & 7; layout {
	case layoutPlain:
		c.Pieces = []fsread.Piece{{Length: c.Size, Disk: start}}
		return c, n.fs.within(start, c.Size)
	case layoutInline:
		whole := (c.Size - 1) / n.fs.blockSize * n.fs.blockSize
		tail := c.Size - whole
		if n.end()%n.fs.blockSize+tail > n.fs.blockSize {
			return nil, fsread.Damaged("its inline content is in two blocks")
		}
		if whole > 0 {
			c.Pieces = []fsread.Piece{{Length: whole, Disk: start}}
			if err := n.fs.within(start, whole); err != nil {
				return nil, err
			}
		}
		c.Pieces = append(c.Pieces, fsread.Piece{Offset: whole, Length: tail, Disk: n.end()})
		return c, nil
	case layoutChunks:
		return c, n.chunks(c)
	case layoutCompressed, layoutCompressedCompact:
		return c, n.compressed(c)
	default:
		return nil, fsread.Damaged("unknown layout %d of its content", layout)
	}
}

// chunks finds the content of a file of chunks, some of which may be holes or be shared with other files.
func (n *inode) chunks(c *fsread.Content) error {
	bits := n.Content&chunkBits + uint32(n.fs.sb.BlockBits)
	const maxBits = 31
	if n.Content&^(chunkBits|chunkIndexes) != 0 || bits > maxBits {
		return fsread.Damaged("a file of chunks of the format 0x%x", n.Content)
	}
	entry, offset := int64(4), int64(0)
	if n.Content&chunkIndexes != 0 {
		entry, offset = 8, 4
	}
	at := (n.end() + entry - 1) / entry * entry
	length := int64(1) << bits
	count := (c.Size + length - 1) / length
	if err := n.fs.within(at, count*entry); err != nil {
		return err
	}
	raw, err := fsread.Read(n.fs.r, at, int(count*entry))
	if err != nil {
		return err
	}
	for i := range count {
		block := binary.LittleEndian.Uint32(raw[i*entry+offset:])
		if block == chunkHole {
			continue
		}
		p := fsread.Piece{Offset: i * length, Length: min(length, c.Size-i*length), Disk: int64(block) << n.fs.sb.BlockBits}
		if err := n.fs.within(p.Disk, p.Length); err != nil {
			return err
		}
		c.Pieces = append(c.Pieces, p)
	}
	return nil
}

// Names implements fsread.Source.
func (s source) Names(number uint64) ([]fsread.Name[uint64], error) {
	n, err := s.inode(number)
	if err != nil {
		return nil, err
	}
	raw, err := n.bytes(fsread.MaxDirectory)
	if err != nil {
		return nil, err
	}
	var names []fsread.Name[uint64]
	for len(raw) > 0 {
		block := raw[:min(int64(len(raw)), s.blockSize)]
		raw = raw[len(block):]
		if names, err = appendNames(names, block); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// appendNames reads a block of a directory: entries, whose names follow.
func appendNames(names []fsread.Name[uint64], block []byte) ([]fsread.Name[uint64], error) {
	const entrySize = 12
	var e dirEntry
	if len(block) < entrySize {
		return nil, fsread.Damaged("a block of the directory is too short")
	}
	decode(block, &e)
	end := int(e.NameOffset)
	if end < entrySize || end > len(block) || end%entrySize != 0 {
		return nil, fsread.Damaged("a block of the directory has its names at %d", end)
	}
	for at := 0; at < end; at += entrySize {
		decode(block[at:], &e)
		stop := len(block)
		if at+entrySize < end {
			stop = int(binary.LittleEndian.Uint16(block[at+entrySize+8:]))
		}
		if int(e.NameOffset) < end || int(e.NameOffset) > stop || stop > len(block) {
			return nil, fsread.Damaged("a name of the directory is at %d", e.NameOffset)
		}
		name, _, _ := bytes.Cut(block[e.NameOffset:stop], []byte{0})
		if string(name) != "." && string(name) != ".." {
			names = append(names, fsread.Name[uint64]{Name: string(name), Inode: e.Inode, Type: fsread.FileType(e.Type)})
		}
	}
	return names, nil
}

// attributes returns the extended attributes of an inode.
func (n *inode) attributes() ([]diskimage.Xattr, error) {
	if n.Xattrs == 0 {
		return nil, nil
	}
	raw, err := fsread.Read(n.fs.r, n.at+n.size, int(n.xattrSize()))
	if err != nil {
		return nil, err
	}
	var h xattrHeader
	decode(raw, &h)
	rest := raw[binary.Size(h):]
	if len(rest) < 4*int(h.Shared) {
		return nil, fsread.Damaged("%d shared extended attributes", h.Shared)
	}
	var all []diskimage.Xattr
	for range h.Shared {
		at := int64(n.fs.sb.XattrBlock)<<n.fs.sb.BlockBits + 4*int64(binary.LittleEndian.Uint32(rest))
		rest = rest[4:]
		var e xattrEntry
		if err := n.fs.get(at, &e); err != nil {
			return nil, err
		}
		entry, err := fsread.Read(n.fs.r, at, binary.Size(e)+int(e.NameSize)+int(e.ValueSize))
		if err != nil {
			return nil, err
		}
		if all, _, err = n.fs.appendXattr(all, entry); err != nil {
			return nil, err
		}
	}
	for len(rest) >= 4 && binary.LittleEndian.Uint32(rest) != 0 {
		if all, rest, err = n.fs.appendXattr(all, rest); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// appendXattr decodes an attribute and returns what follows it. One of an unknown kind is left out, as by the kernel.
func (fs *FileSystem) appendXattr(all []diskimage.Xattr, b []byte) ([]diskimage.Xattr, []byte, error) {
	var e xattrEntry
	decode(b, &e)
	b = b[binary.Size(e):]
	length := int(e.NameSize) + int(e.ValueSize)
	if length > len(b) {
		return nil, nil, fsread.Damaged("its extended attributes are longer than their place")
	}
	prefix, known := xattrNames[e.Index]
	if e.Index&longPrefix != 0 {
		if known = int(e.Index&^longPrefix) < len(fs.prefixes); known {
			prefix = fs.prefixes[e.Index&^longPrefix]
		}
	}
	if known {
		all = append(all, diskimage.Xattr{Name: prefix + string(b[:e.NameSize]), Value: bytes.Clone(b[e.NameSize:length])})
	}
	return all, b[min((length+3)&^3, len(b)):], nil
}
