// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	inodes "github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

const (
	// maxDirectory is the length of the longest directory that is read, with more than 10 million
	// names.
	maxDirectory = 1 << 31
	// dotSize is the length of the entry ".", the first one of a directory.
	dotSize = 12
	// maxLink is the length of the longest target of a symbolic link (PATH_MAX).
	maxLink = 4096
	// inlineData is the flag of files whose content is in the inode (EXT4_INLINE_DATA_FL).
	inlineData disk.InodeFlags = 0x10000000
	// encrypted is EXT4_ENCRYPT_FL.
	encrypted disk.InodeFlags = 0x800
)

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		w := walker{fs: fs, yield: yield, first: map[uint32]diskimage.Entry{}, names: map[uint32]uint16{}}
		err := w.walk(".", disk.InodeRoot, dirEntry{inode: disk.InodeRoot})
		if err == nil {
			err = w.checkLinks()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(diskimage.Entry{}, err)
		}
	}
}

var errStopped = errors.New("stopped")

// walker walks the whole tree.
type walker struct {
	fs    *FileSystem
	yield func(diskimage.Entry, error) bool
	first map[uint32]diskimage.Entry // first names of files with several names, by inode
	names map[uint32]uint16          // how many names an inode has
}

// walk yields an entry and everything below it. parent is the inode of its directory.
func (w *walker) walk(name string, parent uint32, at dirEntry) error {
	e, n, err := w.entry(name, at.inode)
	if err == nil {
		err = w.checkName(e, at)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !w.yield(e, nil) {
		return errStopped
	}
	if e.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	names, err := w.fs.directory(n, parent)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, child := range names {
		if err := w.walk(path.Join(name, child.name), at.inode, child); err != nil {
			return err
		}
	}
	return nil
}

// checkName counts a name, and compares the type in the directory with that in the inode.
func (w *walker) checkName(e diskimage.Entry, at dirEntry) error {
	isDir := e.Mode&unix.S_IFMT == unix.S_IFDIR
	w.names[at.inode]++
	switch count := w.names[at.inode]; {
	case isDir && count > 1: // a few of these make an endless tree
		return errors.New("the directory is linked twice")
	case !isDir && count > 1 && e.HardLink == "":
		return fmt.Errorf("inode %d has more names than links", at.inode)
	case at.kind != 0 && at.kind != disk.FileType(inodes.FileType(e.Mode)):
		return fmt.Errorf("inode %d: its type is not that of the directory", at.inode)
	}
	return nil
}

// checkLinks compares the number of names of each file with its count of links.
func (w *walker) checkLinks() error {
	for number, e := range w.first {
		n, err := w.fs.inode(number)
		if err != nil {
			return err
		}
		if w.names[number] != n.Links {
			return fmt.Errorf("%s: inode %d has %d names and %d links", e.Name, number, w.names[number], n.Links)
		}
	}
	return nil
}

// entry returns the entry of one name.
func (w *walker) entry(name string, number uint32) (diskimage.Entry, *inode, error) {
	if e, ok := w.first[number]; ok {
		e.HardLink, e.Name, e.Open = e.Name, name, nil
		return e, nil, nil
	}
	fs := w.fs
	n, err := fs.inode(number)
	if err != nil {
		return diskimage.Entry{}, nil, err
	}
	e := diskimage.Entry{
		Name: name, Mode: uint32(n.Mode), ModTime: modTime(n),
		UID: uint32(n.UIDHi)<<16 | uint32(n.UIDLo), GID: uint32(n.GIDHi)<<16 | uint32(n.GIDLo),
	}
	if n.Flags&(inlineData|encrypted) != 0 {
		return e, n, fmt.Errorf("inode %d: inline data and encryption are not supported", number)
	}
	if e.Xattrs, err = fs.xattrs(n); err != nil {
		return e, n, fmt.Errorf("inode %d: %w", number, err)
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if e.Size = n.size(); e.Size > 0 {
			runs, err := fs.runs(n)
			if err != nil {
				return e, n, err
			}
			c := &content{fs: fs, runs: runs, size: e.Size}
			e.Data = c.data()
			e.Open = func() (diskimage.Content, error) { return c, nil }
		}
	case unix.S_IFLNK:
		if e.Linkname, err = fs.linkText(n); err != nil {
			return e, n, err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = deviceNumber(n)
	case unix.S_IFDIR, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return e, n, fmt.Errorf("inode %d has unknown type 0%o", number, e.Mode&unix.S_IFMT)
	}
	if n.Links > 1 && e.Mode&unix.S_IFMT != unix.S_IFDIR {
		w.first[number] = e
	}
	return e, n, nil
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

// deviceNumber reads the old form in the first word or the new one in the second (old_decode_dev, new_decode_dev).
func deviceNumber(n *inode) (major, minor uint32) {
	if old := binary.LittleEndian.Uint32(n.Block[:]); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := binary.LittleEndian.Uint32(n.Block[4:])
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}

// linkText returns the target of a symbolic link, which is in the inode if it is short.
func (fs *FileSystem) linkText(n *inode) (string, error) {
	size := n.size()
	if size < disk.BlockField && n.Flags&disk.InodeExtents == 0 {
		return string(n.Block[:size]), nil
	}
	if size > maxLink {
		return "", fmt.Errorf("inode %d: invalid symbolic link of %d bytes", n.number, size)
	}
	runs, err := fs.runs(n)
	if err != nil {
		return "", err
	}
	text := make([]byte, size)
	if _, err := (&content{fs: fs, runs: runs, size: size}).ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(text), nil
}

// dirEntry is one name in a directory.
type dirEntry struct {
	name  string
	inode uint32
	kind  disk.FileType // 0 without IncompatFiletype
}

// directory returns the names of a directory in byte order, without "." and "..", which must lead to
// itself and to its parent. The blocks of an index are read like blocks with one unused entry.
func (fs *FileSystem) directory(n *inode, parent uint32) ([]dirEntry, error) {
	if n.size() > maxDirectory {
		return nil, fmt.Errorf("inode %d: invalid directory of %d bytes", n.number, n.size())
	}
	runs, err := fs.runs(n)
	if err != nil {
		return nil, err
	}
	var names []dirEntry
	next := uint64(0) // number of blocks of the directory that were read
	for _, r := range runs {
		if r.file != next {
			break
		}
		for i := range r.blocks {
			block, err := fs.block(r.disk + i)
			if err == nil && fs.sums.Metadata() {
				err = fs.checkDirectory(n, block)
			}
			if err == nil {
				names, err = appendNames(names, block)
			}
			if err != nil {
				return nil, fmt.Errorf("inode %d: %w", n.number, err)
			}
		}
		next += r.blocks
	}
	if int64(next)*fs.blockSize != n.size() {
		return nil, fmt.Errorf("inode %d: the directory is damaged: it has a hole", n.number)
	}
	if len(names) < 2 || names[0].name != "." || names[1].name != ".." || names[0].inode != n.number ||
		names[1].inode != parent {
		return nil, fmt.Errorf("inode %d: the directory is damaged: \".\" or \"..\" is wrong", n.number)
	}
	names = names[2:]
	if fs.sb.FeatureIncompat&disk.IncompatFiletype == 0 {
		for i := range names {
			names[i].kind = 0
		}
	}
	slices.SortFunc(names, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(names); i++ {
		if names[i-1].name == names[i].name {
			return nil, fmt.Errorf("inode %d: the directory is damaged: %q is there twice", n.number, names[i].name)
		}
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
func appendNames(names []dirEntry, block []byte) ([]dirEntry, error) {
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
		number, kind := le.Uint32(rest), disk.FileType(rest[7])
		rest = rest[length:]
		if number == 0 {
			continue
		}
		if name == "" || len(names) >= 2 && (name == "." || name == "..") || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("the directory contains the invalid name %q", name)
		}
		names = append(names, dirEntry{name, number, kind})
	}
	return names, nil
}
