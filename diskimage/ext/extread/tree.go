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
)

const (
	// maxDirectory is the length of the longest directory that is read, with more than 10 million
	// names.
	maxDirectory = 1 << 31
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
		w := walker{fs: fs, yield: yield, first: map[uint32]diskimage.Entry{}, dirs: map[uint32]bool{}}
		if err := w.walk(".", disk.InodeRoot); err != nil && !errors.Is(err, errStopped) {
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
	dirs  map[uint32]bool            // directories that were listed, each of which may have one name
}

func (w *walker) walk(name string, number uint32) error {
	e, n, err := w.entry(name, number)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !w.yield(e, nil) {
		return errStopped
	}
	if e.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if w.dirs[number] { // a few of these make an endless tree
		return fmt.Errorf("%s: the directory is linked twice", name)
	}
	w.dirs[number] = true
	names, err := w.fs.directory(n)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, child := range names {
		if err := w.walk(path.Join(name, child.name), child.inode); err != nil {
			return err
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
}

// directory returns the names of a directory in byte order, without "." and "..". The blocks of an
// index are read like blocks with one unused entry.
func (fs *FileSystem) directory(n *inode) ([]dirEntry, error) {
	if n.size() > maxDirectory {
		return nil, fmt.Errorf("inode %d: invalid directory of %d bytes", n.number, n.size())
	}
	runs, err := fs.runs(n)
	if err != nil {
		return nil, err
	}
	var names []dirEntry
	for _, r := range runs {
		for i := range r.blocks {
			block, err := fs.block(r.disk + i)
			if err != nil {
				return nil, fmt.Errorf("inode %d: %w", n.number, err)
			}
			if names, err = appendNames(names, block); err != nil {
				return nil, fmt.Errorf("inode %d: %w", n.number, err)
			}
		}
	}
	slices.SortFunc(names, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	return names, nil
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
		if length < disk.DirHeaderSize || length > len(rest) || disk.DirHeaderSize+nameLength > length {
			return nil, errors.New("the directory is damaged")
		}
		name := string(rest[disk.DirHeaderSize : disk.DirHeaderSize+nameLength])
		number := le.Uint32(rest)
		rest = rest[length:]
		if number == 0 || name == "." || name == ".." {
			continue
		}
		if name == "" || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("the directory contains the invalid name %q", name)
		}
		names = append(names, dirEntry{name, number})
	}
	return names, nil
}
