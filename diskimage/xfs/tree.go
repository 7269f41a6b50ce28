// SPDX-License-Identifier: Apache-2.0

package xfs

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

// source reads inodes by their numbers.
type source struct{ *FileSystem }

// inode is an inode with its content or its map, and the same of its attributes.
type inode struct {
	inodeCore
	inodeTail
	fs         *FileSystem
	number     uint64
	data, attr []byte
}

// inode reads an inode. Its number has those of the allocation group and the block in its upper bits.
func (s source) inode(number uint64) (*inode, error) {
	block := number >> s.sb.InodesPerLog
	at, err := s.offset(block)
	if err != nil {
		return nil, fsread.Damaged("inode %d does not exist", number)
	}
	at += int64(number&(1<<s.sb.InodesPerLog-1)) << s.sb.InodeLog
	raw, err := fsread.Read(s.r, at, int(s.sb.InodeSize))
	if err != nil {
		return nil, err
	}
	n := &inode{fs: s.FileSystem, number: number}
	decode(raw, &n.inodeCore)
	size, version := binary.Size(n.inodeCore), uint8(2)
	if s.sums {
		decode(raw[size:], &n.inodeTail)
		size, version = size+binary.Size(n.inodeTail), 3
	}
	switch {
	case string(n.Magic[:]) != "IN" || n.Version > version || n.Version == 0:
		return nil, fsread.Damaged("inode %d is none", number)
	case s.sums && !valid(raw, inodeChecksum):
		return nil, fsread.Damaged("inode %d: checksum mismatch", number)
	case s.sums && n.Number != number:
		return nil, fsread.Damaged("inode %d is inode %d", number, n.Number)
	case n.Flags&flagRealtime != 0:
		return nil, fsread.Damaged("inode %d is on a realtime device", number)
	}
	if n.Version == 1 {
		n.Links = uint32(n.OldLinks)
	}
	n.data = raw[size:]
	if n.ForkOffset > 0 {
		at := int(n.ForkOffset) * 8
		if at > len(n.data) {
			return nil, fsread.Damaged("inode %d has its attributes at %d", number, at)
		}
		n.data, n.attr = n.data[:at], n.data[at:]
	}
	return n, nil
}

// modTime returns the time of the last change, as a count of nanoseconds or as two numbers.
func (n *inode) modTime() time.Time {
	if n.Flags2&flagBigTime != 0 {
		return time.Unix(bigTimeEpoch+int64(n.ModifyTime/1e9), int64(n.ModifyTime%1e9))
	}
	return time.Unix(int64(int32(n.ModifyTime>>32)), int64(uint32(n.ModifyTime)))
}

// Inode implements fsread.Source.
func (s source) Inode(number uint64) (fsread.Inode, error) {
	n, err := s.inode(number)
	if err != nil {
		return fsread.Inode{}, err
	}
	out := fsread.Inode{Links: n.Links, Entry: diskimage.Entry{Mode: uint32(n.Mode), UID: n.UID, GID: n.GID,
		ModTime: n.modTime()}}
	e := &out.Entry
	if n.Links == 0 {
		return out, fsread.Damaged("inode %d has no names", number)
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		const maxFile = 1<<63 - 1
		if n.Size > maxFile {
			return out, fsread.Damaged("a file of %d bytes", n.Size)
		}
		extents, err := n.dataExtents()
		if err != nil {
			return out, err
		}
		c := &fsread.Content{R: s.r, Size: int64(n.Size)}
		for _, x := range extents {
			at, err := s.offset(x.block)
			if err != nil {
				return out, err
			}
			if !x.unwritten {
				c.Pieces = append(c.Pieces, fsread.Piece{Offset: int64(x.file) << s.sb.BlockLog,
					Length: int64(x.count) << s.sb.BlockLog, Disk: at})
			}
		}
		c.Fill(e)
	case unix.S_IFLNK:
		if e.Linkname, err = n.target(); err != nil {
			return out, err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if n.Format != formatDevice || len(n.data) < 4 {
			return out, fsread.Damaged("a device without a number")
		}
		const minorBits, majorMask = 18, 0x3fff // sysv_major of Linux
		device := binary.BigEndian.Uint32(n.data)
		e.Major, e.Minor = device>>minorBits&majorMask, device&(1<<minorBits-1)
	}
	e.Xattrs, err = n.attributes()
	return out, err
}

// target returns the target of a symbolic link.
func (n *inode) target() (string, error) {
	if n.Size > fsread.MaxLink {
		return "", fsread.Damaged("a symbolic link of %d bytes", n.Size)
	}
	if n.Format == formatLocal {
		if int(n.Size) > len(n.data) {
			return "", fsread.Damaged("a symbolic link of %d bytes in its inode", n.Size)
		}
		return string(n.data[:n.Size]), nil
	}
	extents, err := n.dataExtents()
	if err != nil {
		return "", err
	}
	var text []byte
	for _, x := range extents {
		const mostBlocks = 16
		if len(text) >= int(n.Size) || x.count > mostBlocks {
			break
		}
		raw, err := n.fs.blocks(x.block, int(x.count))
		if err == nil && n.fs.sums {
			raw, err = n.remote(raw, "XSLM")
		}
		if err != nil {
			return "", err
		}
		text = append(text, raw...)
	}
	if len(text) < int(n.Size) {
		return "", fsread.Damaged("a symbolic link of %d bytes has %d", n.Size, len(text))
	}
	return string(text[:n.Size]), nil
}

// remote verifies a block with a value or a target, and returns that.
func (n *inode) remote(raw []byte, magic string) ([]byte, error) {
	var h remoteHeader
	decode(raw, &h)
	rest := raw[binary.Size(h):]
	switch {
	case string(h.Magic[:]) != magic || h.Owner != n.number || int64(h.Bytes) > int64(len(rest)):
		return nil, fsread.Damaged("a block of inode %d is that of another", n.number)
	case !valid(raw, daChecksum):
		return nil, errChecksum
	}
	return rest[:h.Bytes], nil
}

// Names implements fsread.Source.
func (s source) Names(number uint64) ([]fsread.Name[uint64], error) {
	n, err := s.inode(number)
	if err != nil {
		return nil, err
	}
	if n.Format == formatLocal {
		return n.shortNames()
	}
	extents, err := n.dataExtents()
	if err != nil {
		return nil, err
	}
	blocks, err := s.logicalBlocks(extents, leafOffset>>s.sb.BlockLog)
	if err != nil {
		return nil, err
	}
	var names []fsread.Name[uint64]
	per := 1 << s.sb.DirBlockLog
	for i := 0; i < len(blocks); i += per {
		var block []byte
		for j := i; j < min(i+per, len(blocks)); j++ {
			part, err := s.blocks(blocks[j].block, 1)
			if err != nil {
				return nil, err
			}
			if blocks[j].file != blocks[i].file+uint64(j-i) || blocks[i].file%uint64(per) != 0 {
				return nil, fsread.Damaged("the directory has a hole")
			}
			block = append(block, part...)
		}
		if len(block) != per<<s.sb.BlockLog {
			return nil, fsread.Damaged("the directory ends within a block")
		}
		if names, err = n.appendNames(names, block); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// shortNames returns the names of a directory that is in its inode.
func (n *inode) shortNames() ([]fsread.Name[uint64], error) {
	const headerSize, entryHeader = 2, 3
	b := n.data[:min(uint64(len(n.data)), n.Size)]
	if len(b) < headerSize {
		return nil, fsread.Damaged("the directory is too short")
	}
	count, width := int(b[0]), 4
	if b[1] > 0 {
		count, width = max(int(b[0]), int(b[1])), 8
	}
	types := 0
	if n.fs.fileTypes {
		types = 1
	}
	b = b[min(headerSize+width, len(b)):] // after the number of the parent
	var names []fsread.Name[uint64]
	for range count {
		if len(b) < entryHeader || len(b) < entryHeader+int(b[0])+types+width {
			return nil, fsread.Damaged("the directory ends within a name")
		}
		length := int(b[0])
		name := fsread.Name[uint64]{Name: string(b[entryHeader : entryHeader+length])}
		b = b[entryHeader+length:]
		if types > 0 {
			name.Type = fsread.FileType(b[0])
		}
		b = b[types:]
		if width == 8 {
			name.Inode = binary.BigEndian.Uint64(b)
		} else {
			name.Inode = uint64(binary.BigEndian.Uint32(b))
		}
		b = b[width:]
		names = append(names, name)
	}
	return names, nil
}

// appendNames reads a block of a directory. One that is the only one ends with its index.
func (n *inode) appendNames(names []fsread.Name[uint64], block []byte) ([]fsread.Name[uint64], error) {
	const tailSize, leafSize, unused, entrySize, align = 8, 8, 0xFFFF, 11, 8
	start, single, several := oldDirHeader, "XD2B", "XD2D"
	if n.fs.sums {
		var h dirHeader
		decode(block, &h)
		start, single, several = binary.Size(h), "XDB3", "XDD3"
		if h.Owner != n.number {
			return nil, fsread.Damaged("a block of directory %d is that of another", n.number)
		}
		if !valid(block, dirChecksum) {
			return nil, errChecksum
		}
	}
	end := len(block)
	switch string(block[:4]) {
	case single:
		count := int64(binary.BigEndian.Uint32(block[end-tailSize:]))
		if count > int64(end)/leafSize {
			return nil, fsread.Damaged("an index of %d names", count)
		}
		end -= tailSize + int(count)*leafSize
	case several:
	default:
		return nil, fsread.Damaged("a block of directory %d is none", n.number)
	}
	types := 0
	if n.fs.fileTypes {
		types = 1
	}
	for at := start; at < end; {
		b := block[at:max(end, at)]
		if len(b) < align {
			return nil, fsread.Damaged("the directory ends within a name")
		}
		if binary.BigEndian.Uint16(b) == unused {
			length := int(binary.BigEndian.Uint16(b[2:]))
			if length < align || length%align != 0 {
				return nil, fsread.Damaged("free room of %d bytes in a directory", length)
			}
			at += length
			continue
		}
		length := 0
		if len(b) >= entrySize {
			length = int(b[8])
		}
		total := (entrySize + length + types + align - 1) / align * align
		if length == 0 || total > len(b) {
			return nil, fsread.Damaged("the directory ends within a name")
		}
		name := fsread.Name[uint64]{Name: string(b[9 : 9+length]), Inode: binary.BigEndian.Uint64(b)}
		if types > 0 {
			name.Type = fsread.FileType(b[9+length])
		}
		if name.Name != "." && name.Name != ".." {
			names = append(names, name)
		}
		at += total
	}
	return names, nil
}
