package diskimage

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// NewTarTree is an uncompressed tar archive of size bytes as a Tree. Nothing is unpacked: the index is read here, and
// Open gives a section of archive, which must stay readable as long as the Tree is in use. No privileges and no user
// namespace are needed, because owners and devices are only text.
//
// Read are the formats that archive/tar reads (v7, ustar, pax, GNU), extended attributes in GNU tar's pax records
// (SCHILY.xattr), hard links, devices and GNU sparse files (whose holes are read as zeros). Directories that the
// archive leaves out are made: mode 0755, user and group 0, and the latest time of what needs them. A later member
// replaces an earlier one of the same name. A member whose name or hard link leads out of the tree, that lies under
// something that is not a directory, or that is of an unknown kind is an error.
//
// Not supported: compressed archives; access control lists in star's text form (SCHILY.acl); sockets, which tar cannot
// hold.
func NewTarTree(archive io.ReaderAt, size int64) (Tree, error) {
	x := tarIndex{source: &tarSource{SectionReader: io.NewSectionReader(archive, 0, size)}, files: make(map[string]*Entry)}
	if err := x.read(archive, size); err != nil {
		return nil, fmt.Errorf("read tar archive: %w", err)
	}
	if err := x.addParents(); err != nil {
		return nil, fmt.Errorf("read tar archive: %w", err)
	}
	return x.sorted(), nil
}

// tarIndex collects the members of an archive. Two names of one file share an *Entry.
type tarIndex struct {
	source *tarSource
	files  map[string]*Entry
}

// tarSource is the archive under a tar.Reader. It notes where the last header began, for sparse files.
type tarSource struct {
	*io.SectionReader
	header  int64
	waiting bool // for the next header
}

// tarBlock is the unit of an archive, and of what archive/tar reads of headers.
const tarBlock = 512

// Read implements io.Reader. What archive/tar skips before a header it seeks over, and then reads one byte.
func (s *tarSource) Read(b []byte) (int, error) {
	if s.waiting && len(b) == tarBlock {
		s.waiting = false
		var err error
		if s.header, err = s.Seek(0, io.SeekCurrent); err != nil {
			return 0, err
		}
	}
	return s.SectionReader.Read(b)
}

// read goes through the archive.
func (x *tarIndex) read(archive io.ReaderAt, size int64) error {
	r := tar.NewReader(x.source)
	for {
		x.source.waiting = true
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) && len(x.files) == 0 {
			return fmt.Errorf("%w (compressed archives are not read)", err)
		}
		if err != nil {
			return err
		}
		data, err := x.source.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := x.add(h, archive, data, size); err != nil {
			return fmt.Errorf("member %q: %w", h.Name, err)
		}
	}
}

// add takes one member, whose content begins at offset data of the archive.
func (x *tarIndex) add(h *tar.Header, archive io.ReaderAt, data, size int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // comments, and defaults that nobody uses
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return x.addLink(name, h.Linkname)
	}
	e, err := tarEntry(h)
	if err != nil {
		return err
	}
	if name == rootName && !e.IsDir() {
		return errors.New("the root must be a directory")
	}
	if e.Size > 0 {
		switch {
		case isSparse(h):
			header := x.source.header
			e.Open = func() (Content, error) { return openSparse(archive, header, size, h.Name) }
		case e.Size > size-data:
			return fmt.Errorf("archive ends inside of its content: %w", io.ErrUnexpectedEOF)
		default:
			length := e.Size
			e.Open = func() (Content, error) { return tarContent{io.NewSectionReader(archive, data, length)}, nil }
		}
	}
	x.files[name] = &e
	return nil
}

// addLink adds another name for a file.
func (x *tarIndex) addLink(name, target string) error {
	first, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	e, ok := x.files[first]
	if !ok {
		return fmt.Errorf("hard link to %q, which is not in the archive before it", target)
	}
	if e.IsDir() {
		return fmt.Errorf("hard link to %q, which is a directory", target)
	}
	x.files[name] = e
	return nil
}

// tarEntry is the member as an Entry, without name and content.
func tarEntry(h *tar.Header) (Entry, error) {
	kinds := map[byte]uint32{
		tar.TypeReg: unix.S_IFREG, tar.TypeGNUSparse: unix.S_IFREG, tar.TypeCont: unix.S_IFREG,
		tar.TypeDir: unix.S_IFDIR, tar.TypeSymlink: unix.S_IFLNK, tar.TypeFifo: unix.S_IFIFO,
		tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK,
	}
	kind, ok := kinds[h.Typeflag]
	if !ok {
		return Entry{}, fmt.Errorf("unknown type %q", h.Typeflag)
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32 || int64(h.Gid) >= 1<<32 {
		return Entry{}, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	e := Entry{Mode: kind | uint32(h.Mode)&0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid), ModTime: h.ModTime}
	switch kind {
	case unix.S_IFREG:
		e.Size = h.Size
	case unix.S_IFLNK:
		e.Mode |= 0o777 // as stat(2) shows every link
		e.Linkname = h.Linkname
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && keepXattr(name) {
			e.Xattrs = append(e.Xattrs, Xattr{Name: name, Value: plainXattr(name, []byte(h.PAXRecords[key]))})
		}
	}
	return e, nil
}

// addParents adds directories that the archive leaves out and looks at the others.
func (x *tarIndex) addParents() error {
	implied := make(map[string]bool)
	for _, name := range slices.SortedFunc(maps.Keys(x.files), comparePaths) {
		e := x.files[name]
		for dir := name; dir != rootName; {
			dir = parentOf(dir)
			parent, ok := x.files[dir]
			switch {
			case !ok || implied[dir] && parent.ModTime.Before(e.ModTime):
				made := DirEntry("", 0o755, e.ModTime)
				x.files[dir] = &made
				implied[dir] = true
			case !parent.IsDir():
				return fmt.Errorf("member %q: %q is not a directory", name, dir)
			}
		}
	}
	if _, ok := x.files[rootName]; !ok {
		return errors.New("no members")
	}
	return nil
}

// sorted gives the entries in the order of a Tree. The first name of a file in that order is the file itself, whichever
// came first in the archive.
func (x *tarIndex) sorted() Tree {
	entries := make(entriesTree, 0, len(x.files))
	first := make(map[*Entry]string)
	for _, name := range slices.SortedFunc(maps.Keys(x.files), comparePaths) {
		file := x.files[name]
		e := *file
		e.Name = name
		if other, ok := first[file]; ok {
			e.HardLink, e.Open = other, nil
		} else {
			first[file] = name
		}
		entries = append(entries, e)
	}
	return entries
}

// tarContent is a file that lies in the archive in one piece.
type tarContent struct{ *io.SectionReader }

func (tarContent) Close() error { return nil }

// isSparse reports whether the archive holds the file without its holes.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// sparseContent reads a sparse file through archive/tar, which does not tell where its parts are. Reading onwards is
// cheap, reading backwards begins again.
type sparseContent struct {
	mu     sync.Mutex
	reopen func() (io.Reader, error)
	file   io.Reader
	offset int64
}

// openSparse finds the member again, whose header is at an offset of the archive.
func openSparse(archive io.ReaderAt, header, size int64, name string) (Content, error) {
	c := &sparseContent{reopen: func() (io.Reader, error) {
		r := tar.NewReader(io.NewSectionReader(archive, header, size-header))
		h, err := r.Next()
		if err == nil && h.Name != name {
			err = fmt.Errorf("found %q in its place", h.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("read tar archive: member %q: %w", name, err)
		}
		return r, nil
	}}
	var err error
	c.file, err = c.reopen()
	return c, err
}

// ReadAt implements io.ReaderAt.
func (c *sparseContent) ReadAt(b []byte, offset int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if offset < c.offset {
		file, err := c.reopen()
		if err != nil {
			return 0, err
		}
		c.file, c.offset = file, 0
	}
	skipped, err := io.CopyN(io.Discard, c.file, offset-c.offset)
	c.offset += skipped
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(c.file, b)
	c.offset += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (*sparseContent) Close() error { return nil }
