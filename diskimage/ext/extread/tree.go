// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

const (
	// dotSize is the length of the entry ".", the first one of a directory.
	dotSize = 12
	// inlineData is the flag of files whose content is in the inode (EXT4_INLINE_DATA_FL).
	inlineData disk.InodeFlags = 0x10000000
	// encrypted is EXT4_ENCRYPT_FL.
	encrypted disk.InodeFlags = 0x800
)

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		const root uint32 = disk.InodeRoot
		fsread.Walk(root, source{fs, map[uint32]uint32{root: root}})(yield)
	}
}

// source is a file system during one walk.
type source struct {
	fs *FileSystem
	// parents are the inodes of directories, by the inodes of those in them.
	parents map[uint32]uint32
}

// Inode implements fsread.Source.
func (s source) Inode(number uint32) (fsread.Inode, error) {
	n, err := s.fs.inode(number)
	if err != nil {
		return fsread.Inode{}, err
	}
	out := fsread.Inode{Links: uint32(n.Links), Entry: diskimage.Entry{Mode: uint32(n.Mode), ModTime: modTime(n),
		UID: uint32(n.UIDHi)<<16 | uint32(n.UIDLo), GID: uint32(n.GIDHi)<<16 | uint32(n.GIDLo)}}
	if n.Flags&(inlineData|encrypted) != 0 {
		return out, fmt.Errorf("inode %d: inline data and encryption are not supported", number)
	}
	e := &out.Entry
	if e.Xattrs, err = s.fs.xattrs(n); err != nil {
		return out, fmt.Errorf("inode %d: %w", number, err)
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c, err := s.fs.content(n)
		if err != nil {
			return out, err
		}
		c.Fill(e)
	case unix.S_IFLNK:
		e.Linkname, err = s.fs.linkText(n)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = deviceNumber(n)
	}
	return out, err
}

// modTime joins the two halves of the time (EXT4_INODE_GET_XTIME).
func modTime(n *inode) time.Time {
	const epochBits = 2
	seconds := int64(int32(n.ModifyTime))
	nanoseconds := int64(0)
	if n.ExtraSize >= 12 { // up to ModifyExtra
		seconds += int64(n.ModifyExtra&(1<<epochBits-1)) << 32
		nanoseconds = int64(n.ModifyExtra >> epochBits)
	}
	return time.Unix(seconds, nanoseconds)
}

// deviceNumber reads the old form in the first word or the new one in the second (old_decode_dev).
func deviceNumber(n *inode) (major, minor uint32) {
	if old := binary.LittleEndian.Uint32(n.Block[:]); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	return fsread.DeviceNumber(binary.LittleEndian.Uint32(n.Block[4:]))
}

// linkText returns the target of a symbolic link, which is in the inode if it is short.
func (fs *FileSystem) linkText(n *inode) (string, error) {
	size := n.size()
	if size < disk.BlockField && n.Flags&disk.InodeExtents == 0 {
		return string(n.Block[:size]), nil
	}
	if size > fsread.MaxLink {
		return "", fmt.Errorf("inode %d: invalid symbolic link of %d bytes", n.number, size)
	}
	c, err := fs.content(n)
	if err != nil {
		return "", err
	}
	text := make([]byte, size)
	err = fsread.ReadFull(c, text, 0)
	return string(text), err
}

// Names implements fsread.Source. "." and ".." must lead to the directory and to its parent. The blocks of an index are
// read like blocks with one unused entry.
func (s source) Names(number uint32) ([]fsread.Name[uint32], error) {
	n, err := s.fs.inode(number)
	if err != nil {
		return nil, err
	}
	names, err := s.fs.directory(n)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", number, err)
	}
	if len(names) < 2 || names[0].Name != "." || names[1].Name != ".." || names[0].Inode != number ||
		names[1].Inode != s.parents[number] {
		return nil, fmt.Errorf("inode %d: the directory is damaged: \".\" or \"..\" is wrong", number)
	}
	names = names[2:]
	for i := range names {
		name := &names[i]
		if s.fs.sb.FeatureIncompat&disk.IncompatFiletype == 0 {
			name.Type = 0
		}
		if name.Type == unix.S_IFDIR || name.Type == 0 {
			s.parents[name.Inode] = number
		}
	}
	return names, nil
}

// directory returns the names of a directory as they are on the disk.
func (fs *FileSystem) directory(n *inode) ([]fsread.Name[uint32], error) {
	if n.size() > fsread.MaxDirectory {
		return nil, fmt.Errorf("invalid directory of %d bytes", n.size())
	}
	c, err := fs.content(n)
	if err != nil {
		return nil, err
	}
	var names []fsread.Name[uint32]
	next := int64(0) // number of bytes of the directory that were read
	for _, p := range c.Pieces {
		if p.Offset != next {
			break
		}
		for next += p.Length; p.Length > 0; p.Disk, p.Length = p.Disk+fs.blockSize, p.Length-fs.blockSize {
			block, err := fsread.Read(fs.r, p.Disk, int(fs.blockSize))
			if err == nil && fs.sums.Metadata() {
				err = fs.checkDirectory(n, block)
			}
			if err == nil {
				names, err = appendNames(names, block)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if next != n.size() {
		return nil, errors.New("the directory is damaged: it has a hole")
	}
	return names, nil
}

// checkDirectory verifies the checksum of a block of a directory. A block of entries ends with an
// unused entry that holds it; in a block of the index, which looks like one with one or two entries,
// it follows the room for index entries (get_dx_countlimit).
func (fs *FileSystem) checkDirectory(n *inode, block []byte) error {
	le := binary.LittleEndian
	end := len(block) - disk.DirTailSize
	if tail := block[end:]; le.Uint32(tail) == 0 && le.Uint16(tail[4:]) == disk.DirTailSize && tail[6] == 0 &&
		disk.FileType(tail[7]) == disk.TypeChecksum {
		if le.Uint32(tail[disk.DirHeaderSize:]) != fs.sums.InodeBlock(n.number, n.Generation, block[:end]) {
			return fmt.Errorf("directory: %w", errChecksum)
		}
		return nil
	}
	entries := disk.DxNodeEntries
	if int(le.Uint16(block[4:])) == dotSize {
		entries = disk.DxRootEntries
	}
	limit, count := int(le.Uint16(block[entries:])), int(le.Uint16(block[entries+2:]))
	tail := entries + limit*disk.DxEntrySize
	if count > limit || tail+disk.DxTailSize > len(block) ||
		le.Uint32(block[tail+disk.DxTailSize-4:]) !=
			fs.sums.IndexBlock(n.number, n.Generation, block[:entries+count*disk.DxEntrySize]) {
		return fmt.Errorf("directory: %w", errChecksum)
	}
	return nil
}

// appendNames reads one block of a directory.
func appendNames(names []fsread.Name[uint32], block []byte) ([]fsread.Name[uint32], error) {
	le := binary.LittleEndian
	for rest := block; len(rest) >= disk.DirHeaderSize; {
		length := int(le.Uint16(rest[4:]))
		if length == 0 || length == 0xffff { // a whole block of 64 KiB (ext4_rec_len_from_disk)
			length = len(rest)
		}
		nameLength := int(rest[6])
		if length < disk.DirHeaderSize || length%4 != 0 || length > len(rest) || disk.DirHeaderSize+nameLength > length {
			return nil, errors.New("the directory is damaged")
		}
		name := string(rest[disk.DirHeaderSize : disk.DirHeaderSize+nameLength])
		number, kind := le.Uint32(rest), rest[7]
		rest = rest[length:]
		if number == 0 {
			continue
		}
		if kind != 0 && fsread.FileType(kind) == 0 {
			return nil, fmt.Errorf("the directory is damaged: %q is of the unknown type %d", name, kind)
		}
		names = append(names, fsread.Name[uint32]{Name: name, Inode: number, Type: fsread.FileType(kind)})
	}
	return names, nil
}
