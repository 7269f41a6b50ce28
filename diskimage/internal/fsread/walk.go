// SPDX-License-Identifier: Apache-2.0

// Package fsread has what the readers of file systems share: the walk over all directories, contents of files that are
// made of pieces, decompression, and a cache of blocks. Nothing that was read is trusted: names, circles and lengths
// are checked here.
package fsread

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// ErrDamaged is wrapped by errors that are reported here.
var ErrDamaged = errors.New("the file system is damaged")

// Damaged returns an error that wraps ErrDamaged.
func Damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// maxName is NAME_MAX.
const maxName = 255

// Inode is a file without its names.
type Inode struct {
	// Entry has everything but Name and HardLink.
	Entry diskimage.Entry
	// Links is the number of names of a file that is no directory; 0 if the format does not record it reliably.
	Links uint32
}

// Name is a name in a directory.
type Name[ID comparable] struct {
	Name  string
	Inode ID
	// Type is the type in the directory, as in st_mode; 0 if it is not recorded there.
	Type uint32
}

// Source reads the inodes of a file system by their numbers.
type Source[ID comparable] interface {
	// Inode reads an inode. The error need not name it.
	Inode(number ID) (Inode, error)
	// Names reads a directory, without "." and "..", in any order.
	Names(number ID) ([]Name[ID], error)
}

// Walk yields the tree below a root as diskimage.Tree promises it. Files with several names are found by their inodes.
func Walk[ID comparable](root ID, source Source[ID]) iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		w := walker[ID]{source: source, yield: yield, files: map[ID]*file{}}
		err := w.walk(".", Name[ID]{Inode: root, Type: unix.S_IFDIR})
		if err == nil {
			err = w.checkLinks()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(diskimage.Entry{}, err)
		}
	}
}

var errStopped = errors.New("stopped")

// file is an inode that was seen.
type file struct {
	entry        diskimage.Entry // with its first name
	links, names uint32
}

type walker[ID comparable] struct {
	source Source[ID]
	yield  func(diskimage.Entry, error) bool
	files  map[ID]*file
}

// walk yields an entry and everything below it.
func (w *walker[ID]) walk(name string, at Name[ID]) error {
	e, err := w.entry(name, at)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !w.yield(e, nil) {
		return errStopped
	}
	if !e.IsDir() {
		return nil
	}
	names, err := w.source.Names(at.Inode)
	if err == nil {
		err = check(names)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, child := range names {
		if err := w.walk(path.Join(name, child.Name), child); err != nil {
			return err
		}
	}
	return nil
}

// entry returns the entry of one name.
func (w *walker[ID]) entry(name string, at Name[ID]) (diskimage.Entry, error) {
	if f := w.files[at.Inode]; f != nil {
		f.names++
		e := f.entry
		switch {
		case e.IsDir():
			return e, Damaged("the directory is linked twice") // a few of these make an endless tree
		case at.Type != 0 && at.Type != e.Mode&unix.S_IFMT:
			return e, Damaged("its type is not that of the directory")
		}
		e.HardLink, e.Name, e.Open = e.Name, name, nil
		return e, nil
	}
	n, err := w.source.Inode(at.Inode)
	if err != nil {
		return n.Entry, err
	}
	kind := n.Entry.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return n.Entry, Damaged("unknown type 0%o", kind)
	}
	if at.Type != 0 && at.Type != kind {
		return n.Entry, Damaged("its type is not that of the directory")
	}
	n.Entry.Name = name
	slices.SortFunc(n.Entry.Xattrs, func(a, b diskimage.Xattr) int { return strings.Compare(a.Name, b.Name) })
	w.files[at.Inode] = &file{n.Entry, n.Links, 1}
	return n.Entry, nil
}

// check sorts the names of a directory, and returns an error for those that no file can have.
func check[ID comparable](names []Name[ID]) error {
	slices.SortFunc(names, func(a, b Name[ID]) int { return strings.Compare(a.Name, b.Name) })
	for i, n := range names {
		switch {
		case n.Name == "" || n.Name == "." || n.Name == ".." || len(n.Name) > maxName ||
			strings.ContainsAny(n.Name, "/\x00"):
			return Damaged("invalid name %q", n.Name)
		case i > 0 && names[i-1].Name == n.Name:
			return Damaged("the name %q is there twice", n.Name)
		}
	}
	return nil
}

// checkLinks compares the number of names of each file with its count of links.
func (w *walker[ID]) checkLinks() error {
	var problem error
	first := ""
	for _, f := range w.files {
		if !f.entry.IsDir() && f.links > 0 && f.links != f.names && (first == "" || f.entry.Name < first) {
			first = f.entry.Name
			problem = fmt.Errorf("%s: %w", first, Damaged("it has %d names and %d links", f.names, f.links))
		}
	}
	return problem
}

// Piece is a part of a file: Length bytes at Offset of the file. Pieces are in order and do not overlap; what is
// between them is a hole.
type Piece struct {
	Offset, Length int64
	// Disk is where the bytes are, unless Load is set: then they are in the block that it returns, from Skip on.
	Disk int64
	Load func() ([]byte, error)
	Skip int64
}

// Content is the content of a regular file. It needs no Close, and several goroutines may use it.
type Content struct {
	R      io.ReaderAt
	Pieces []Piece
	Size   int64
	// Checksums is set if the file system has checksums of contents: nobody may change the bytes in their places.
	Checksums bool
}

// Fill sets size and content of a regular file. A file without holes has no list of its data. Pieces beyond the end
// are cut off.
func (c *Content) Fill(e *diskimage.Entry) {
	e.Size = c.Size
	if c.Size == 0 {
		return
	}
	data := []diskimage.Extent{}
	for i, p := range c.Pieces {
		if p.Offset >= c.Size {
			c.Pieces = c.Pieces[:i]
			break
		}
		c.Pieces[i].Length = min(p.Length, c.Size-p.Offset)
		length := c.Pieces[i].Length
		if last := len(data) - 1; last >= 0 && data[last].Offset+data[last].Length == p.Offset {
			data[last].Length += length
		} else if length > 0 {
			data = append(data, diskimage.Extent{Offset: p.Offset, Length: length})
		}
	}
	if len(data) != 1 || data[0] != (diskimage.Extent{Length: c.Size}) {
		e.Data = data
	}
	e.Open = func() (diskimage.Content, error) { return c, nil }
}

// Close implements io.Closer.
func (c *Content) Close() error { return nil }

// ReadAt implements io.ReaderAt.
func (c *Content) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	if offset >= c.Size {
		return 0, io.EOF
	}
	whole := len(p)
	p = p[:min(int64(whole), c.Size-offset)]
	clear(p)
	end := offset + int64(len(p))
	first, _ := slices.BinarySearchFunc(c.Pieces, offset, func(piece Piece, at int64) int {
		return cmp.Compare(piece.Offset+piece.Length, at+1)
	})
	for _, piece := range c.Pieces[first:] {
		from, to := max(piece.Offset, offset), min(piece.Offset+piece.Length, end)
		if from >= to {
			break
		}
		if err := c.read(piece, p[from-offset:to-offset], from-piece.Offset); err != nil {
			return 0, err
		}
	}
	if len(p) < whole {
		return len(p), io.EOF
	}
	return len(p), nil
}

// read reads a part of a piece.
func (c *Content) read(piece Piece, p []byte, at int64) error {
	if piece.Load == nil {
		return ReadFull(c.R, p, piece.Disk+at)
	}
	block, err := piece.Load()
	if err != nil {
		return err
	}
	at += piece.Skip
	if at < 0 || at+int64(len(p)) > int64(len(block)) {
		return Damaged("a block has %d bytes, and %d are in use", len(block), at+int64(len(p)))
	}
	copy(p, block[at:])
	return nil
}

// OnDisk implements diskimage.OnDisk. A hole and what is compressed end the list, because they have no place that could
// be changed.
func (c *Content) OnDisk() []diskimage.Extent {
	extents, next := []diskimage.Extent{}, int64(0)
	for _, p := range c.Pieces {
		if p.Offset != next || p.Load != nil || c.Checksums {
			break
		}
		next += p.Length
		extents = append(extents, diskimage.Extent{Offset: p.Disk, Length: p.Length})
	}
	return extents
}

// ReadFull fills p with the bytes at an offset. An image that ends before is damaged.
func ReadFull(r io.ReaderAt, p []byte, offset int64) error {
	if offset < 0 {
		return Damaged("a reference to a negative offset")
	}
	switch n, err := r.ReadAt(p, offset); {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return Damaged("it ends before offset %d", offset+int64(len(p)))
	default:
		return err
	}
}

// Read returns length bytes at an offset.
func Read(r io.ReaderAt, offset int64, length int) ([]byte, error) {
	p := make([]byte, length)
	return p, ReadFull(r, p, offset)
}

// MaxLink is the length of the longest target of a symbolic link (PATH_MAX).
const MaxLink = 4096

// MaxDirectory is the length of the longest directory that is read, with millions of names.
const MaxDirectory = 1 << 30

// DeviceNumber splits a device number as most file systems record it (new_decode_dev of Linux).
func DeviceNumber(dev uint32) (major, minor uint32) {
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}

// FileType returns the type, as in st_mode, of a number in a directory as ext4, btrfs, xfs, f2fs and erofs record it
// (fs_umode_to_ftype); 0 if it is unknown.
func FileType(number uint8) uint32 {
	types := [...]uint32{0, unix.S_IFREG, unix.S_IFDIR, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK,
		unix.S_IFLNK}
	if int(number) < len(types) {
		return types[number]
	}
	return 0
}
