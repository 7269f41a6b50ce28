// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// id identifies an inode: each subvolume has its own numbers.
type id struct{ subvolume, inode uint64 }

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return fsread.Walk(fs.root, &source{FileSystem: fs, trees: map[uint64]tree{}})
}

// source reads inodes by their numbers, for one goroutine.
type source struct {
	*FileSystem
	trees map[uint64]tree // of subvolumes
}

// tree returns the tree of a subvolume.
func (s *source) tree(subvolume uint64) (t tree, err error) {
	t, ok := s.trees[subvolume]
	if !ok {
		if t, err = s.subvolume(subvolume); err == nil {
			s.trees[subvolume] = t
		}
	}
	return t, err
}

// findRoot sets the root of the tree.
func (fs *FileSystem) findRoot() error {
	fs.root = id{treeFiles, objectFirstFree}
	for found, err := range fs.items(fs.trees, fs.sb.RootDir, keyDirItem) {
		if err != nil {
			return fmt.Errorf("default subvolume: %w", err)
		}
		d, name, _, _, err := cutDirItem(found.data)
		if err != nil {
			return fmt.Errorf("default subvolume: %w", err)
		}
		if name == "default" && d.Location.Object >= objectFirstFree && d.Location.Object <= objectLastFree {
			fs.root.subvolume = d.Location.Object
			return nil
		}
	}
	s := source{FileSystem: fs, trees: map[uint64]tree{}}
	names, err := s.Names(fs.root)
	if err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	installed := map[string]id{}
	for _, n := range names {
		installed[n.Name] = n.Inode
	}
	if _, ok := installed["etc"]; ok {
		return nil
	}
	for _, name := range []string{"@rootfs", "@"} {
		if root := installed[name]; root.inode == objectFirstFree {
			fs.root = root
			break
		}
	}
	return nil
}

// cutDirItem decodes a name or an attribute, and returns what follows it.
func cutDirItem(data []byte) (d dirItem, name string, value, rest []byte, err error) {
	if rest, err = take(data, &d); err != nil {
		return d, "", nil, nil, err
	}
	end := int(d.NameSize) + int(d.DataSize)
	if end > len(rest) {
		return d, "", nil, nil, fsread.Damaged("a name is longer than its item")
	}
	return d, string(rest[:d.NameSize]), rest[d.NameSize:end], rest[end:], nil
}

// lost is the inode of a subvolume in a snapshot of its parent, which is an empty directory there.
const lost = 2

// Inode implements fsread.Source.
func (s *source) Inode(number id) (fsread.Inode, error) {
	n := fsread.Inode{Entry: diskimage.Entry{Mode: unix.S_IFDIR | 0o755, ModTime: time.Unix(0, 0)}}
	if number.inode == lost {
		return n, nil
	}
	t, err := s.tree(number.subvolume)
	if err != nil {
		return n, err
	}
	found, err := s.item(t, number.inode, keyInode)
	if err != nil {
		return n, err
	}
	var i inodeItem
	if _, err := take(found.data, &i); err != nil {
		return n, fmt.Errorf("inode %d: %w", number.inode, err)
	}
	n.Links = i.Links
	n.Entry = diskimage.Entry{Mode: i.Mode, UID: i.UID, GID: i.GID,
		ModTime: time.Unix(i.ModifyTime.Seconds, int64(i.ModifyTime.Nanoseconds))}
	e := &n.Entry
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c, err := s.content(t, number.inode, i.Size)
		if err != nil {
			return n, err
		}
		c.Fill(e)
	case unix.S_IFLNK:
		if i.Size > fsread.MaxLink {
			return n, fsread.Damaged("a symbolic link of %d bytes", i.Size)
		}
		c, err := s.content(t, number.inode, i.Size)
		if err != nil {
			return n, err
		}
		text := make([]byte, i.Size)
		if err := fsread.ReadFull(c, text, 0); err != nil && i.Size > 0 {
			return n, err
		}
		e.Linkname = string(text)
	case unix.S_IFCHR, unix.S_IFBLK:
		const minorBits = 20 // as in the kernel's memory (MKDEV)
		e.Major, e.Minor = uint32(i.Device>>minorBits), uint32(i.Device&(1<<minorBits-1))
	}
	e.Xattrs, err = s.attributes(t, number.inode)
	return n, err
}

// attributes returns the extended attributes of an inode. Those of btrfs itself (btrfs.compression) are left out.
func (s *source) attributes(t tree, inode uint64) (all []diskimage.Xattr, err error) {
	for found, err := range s.items(t, inode, keyXattr) {
		if err != nil {
			return nil, err
		}
		for rest := found.data; len(rest) > 0; { // several with the same hash
			var name string
			var value []byte
			if _, name, value, rest, err = cutDirItem(rest); err != nil {
				return nil, err
			}
			if !bytes.HasPrefix([]byte(name), []byte("btrfs.")) {
				all = append(all, diskimage.Xattr{Name: name, Value: append([]byte{}, value...)})
			}
		}
	}
	return all, nil
}

// Names implements fsread.Source.
func (s *source) Names(number id) (names []fsread.Name[id], err error) {
	if number.inode == lost {
		return nil, nil
	}
	t, err := s.tree(number.subvolume)
	if err != nil {
		return nil, err
	}
	for found, err := range s.items(t, number.inode, keyDirIndex) {
		if err != nil {
			return nil, err
		}
		d, name, _, _, err := cutDirItem(found.data)
		if err != nil {
			return nil, err
		}
		n := fsread.Name[id]{Name: name, Type: fsread.FileType(d.Type), Inode: id{number.subvolume, d.Location.Object}}
		switch d.Location.Type {
		case keyInode:
		case keyRoot:
			n.Inode = id{d.Location.Object, objectFirstFree}
			there, err := s.references(number.subvolume, d.Location.Object)
			if err != nil {
				return nil, err
			}
			if !there {
				n.Inode.inode = lost
			}
		default:
			return nil, fsread.Damaged("the name %q is that of an object of type %d", name, d.Location.Type)
		}
		names = append(names, n)
	}
	return names, nil
}

// references reports whether a subvolume has another one below it.
func (s *source) references(parent, child uint64) (bool, error) {
	for found, err := range s.items(s.FileSystem.trees, parent, keyRootRef) {
		if err != nil || found.key.Offset == child {
			return err == nil, err
		}
	}
	return false, nil
}

// content returns the content of a file or symbolic link.
func (s *source) content(t tree, inode, size uint64) (*fsread.Content, error) {
	const maxFile = 1 << 60
	if size > maxFile {
		return nil, fsread.Damaged("a file of %d bytes", size)
	}
	c := &fsread.Content{R: s.r, Size: int64(size), Checksums: true}
	if size == 0 {
		return c, nil
	}
	for found, err := range s.items(t, inode, keyExtent) {
		if err != nil {
			return nil, err
		}
		p, err := s.piece(found)
		if err != nil {
			return nil, err
		}
		if p.Length == 0 {
			continue
		}
		if last := len(c.Pieces) - 1; p.Offset < 0 ||
			last >= 0 && c.Pieces[last].Offset+c.Pieces[last].Length > p.Offset {
			return nil, fsread.Damaged("two of its extents overlap")
		}
		c.Pieces = append(c.Pieces, p)
	}
	return c, nil
}

// methods are the methods of compression by their numbers. LZO is in segments.
var methods = map[uint8]fsread.Method{1: fsread.Zlib, 2: fsread.LZO, 3: fsread.Zstd}

// piece returns an extent; of a hole it has no length.
func (s *source) piece(found foundItem) (p fsread.Piece, err error) {
	var x extentItem
	rest, err := take(found.data, &x)
	if err != nil {
		return p, err
	}
	if x.Encryption != 0 || x.Encoding != 0 || x.Compression > 0 && methods[x.Compression] == 0 {
		return p, fmt.Errorf("an extent of unknown encoding (%d, %d, %d)", x.Compression, x.Encryption, x.Encoding)
	}
	p.Offset = int64(found.key.Offset)
	if x.Type == extentInline {
		if x.RAMBytes > maxInlineExtent {
			return p, fsread.Damaged("an inline extent of %d bytes", x.RAMBytes)
		}
		data := bytes.Clone(rest)
		p.Length = int64(x.RAMBytes)
		p.Load = func() ([]byte, error) { return s.decompress(x.Compression, data, int(x.RAMBytes)) }
		return p, nil
	}
	var place extentPlace
	if _, err := take(rest, &place); err != nil {
		return p, err
	}
	const most = 1 << 60
	if found.key.Offset > most || place.Length > most || place.Offset > most {
		return p, fsread.Damaged("an extent of %d bytes at %d", place.Length, found.key.Offset)
	}
	switch {
	case x.Type != extentRegular && x.Type != extentPrealloc:
		return p, fsread.Damaged("an extent of type %d", x.Type)
	case place.At == 0 || x.Type == extentPrealloc:
		return p, nil
	}
	p.Length = int64(place.Length)
	if x.Compression == 0 {
		p.Disk, err = s.physical(place.At+place.Offset, place.Length)
		return p, err
	}
	if x.RAMBytes > maxCompressed || place.DiskSize > maxCompressed {
		return p, fsread.Damaged("a compressed extent of %d bytes", x.RAMBytes)
	}
	at, err := s.physical(place.At, place.DiskSize)
	p.Skip = int64(place.Offset)
	p.Load = func() ([]byte, error) {
		return s.cache.Get(at, int64(place.DiskSize), func() ([]byte, error) {
			raw, err := fsread.Read(s.r, at, int(place.DiskSize))
			if err != nil {
				return nil, err
			}
			return s.decompress(x.Compression, raw, int(x.RAMBytes))
		})
	}
	return p, err
}

// decompress decompresses an extent of size bytes, which are zeros from the end of its data on.
func (s *source) decompress(compression uint8, raw []byte, size int) (data []byte, err error) {
	switch method := methods[compression]; {
	case compression == 0:
		data = raw
	case method == fsread.LZO:
		data, err = s.decompressLZO(raw, size)
	default:
		data, err = fsread.Decompress(method, raw, size)
	}
	if err == nil && len(data) < size && compression != 0 {
		data = append(data, make([]byte, size-len(data))...)
	}
	return data, err
}

// decompressLZO decompresses the total length and segments, each with its length, which is never in two sectors.
func (s *source) decompressLZO(raw []byte, size int) ([]byte, error) {
	const number = 4
	if len(raw) < number {
		return nil, fsread.Damaged("a compressed extent of %d bytes", len(raw))
	}
	total, sector := int(binary.LittleEndian.Uint32(raw)), int(s.sb.SectorSize)
	if total > len(raw) {
		return nil, fsread.Damaged("a compressed extent of %d bytes has %d", len(raw), total)
	}
	var data []byte
	for at := number; at < total && len(data) < size; {
		if left := sector - at%sector; left < number {
			at += left // the total counts it even after the last segment
			continue
		}
		if at+number > total {
			return nil, fsread.Damaged("a compressed extent ends within a number")
		}
		length := int(binary.LittleEndian.Uint32(raw[at:]))
		at += number
		if length > total-at {
			return nil, fsread.Damaged("a compressed segment of %d bytes", length)
		}
		segment, err := fsread.Decompress(fsread.LZO, raw[at:at+length], sector)
		if err != nil {
			return nil, err
		}
		data = append(data, segment...)
		at += length
	}
	return data[:min(len(data), size)], nil
}
