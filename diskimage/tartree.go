// SPDX-License-Identifier: Apache-2.0

package diskimage

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
)

// NewTarTree returns an uncompressed tar archive of size bytes as a Tree. Nothing is unpacked:
// NewTarTree reads the index, and Open returns a section of archive, which must stay readable as
// long as the Tree is used. No privileges and no user namespace are needed, because owners and
// devices are only read as numbers.
//
// It reads the formats v7, ustar, pax, star and GNU; extended attributes in the pax records of GNU
// tar and star (SCHILY.xattr) and of bsdtar (LIBARCHIVE.xattr); hard links, devices, and sparse
// files in all four forms of GNU tar, with their holes. Directories missing from the archive are
// added with mode 0755, user and group 0, and the latest time of the members that need them. A
// later member replaces an earlier one of the same name. The location of a member below a symbolic
// link to a directory, such as bin/tool where bin leads to usr/bin, is where the link leads within
// the tree, as for GNU tar and container engines.
//
// It is an error if the name or the hard link of a member leads out of the tree, if a parent of a
// member is neither a directory nor a link to one, if a member replaces one of the links of a
// merged /usr by a directory, or if the kind of a member is unknown. So is an archive that ends
// without zero blocks, because the rest of it may be missing.
//
// Archives that follow each other, as after cat(1), are read as one, as by tar --ignore-zeros. In the
// layer of a container image only the first one counts, as for container engines.
//
// Not supported: compressed archives; access control lists in star's text form (SCHILY.acl), which are an error;
// archives of several volumes; sockets, which tar cannot hold.
func NewTarTree(archive io.ReaderAt, size int64) (Tree, error) {
	x := newTarIndex()
	x.archive = archive
	err := x.read(&tarReader{archive: archive, size: size})
	if err == nil {
		err = x.addParents()
	}
	if err != nil {
		return nil, fmt.Errorf("read tar archive: %w", err)
	}
	return x.tree(), nil
}

// ErrNotTar reports that the start of the data is not that of an archive.
var ErrNotTar = errors.New("not a tar archive (compressed ones are not supported)")

// tarIndex collects the members of an archive, or of several archives that are layers.
type tarIndex struct {
	archive   io.ReaderAt
	layer     int
	whiteouts *whiteouts       // of the layer; nil if the archive is not a layer
	files     []Entry          // without names
	names     map[string]named // the file of each name
	ordered   []string         // all names: in the order of the archive, at the end in that of a Tree
	links     bool             // there is at least one symbolic link
	// parent is the directory of the last member with its links resolved; the next one is often in
	// it, too.
	parent struct{ name, real string }
}

// named is the file of a name, as an index of files, and the layer that added the name.
type named struct{ file, layer int }

func newTarIndex() *tarIndex { return &tarIndex{names: map[string]named{}} }

// read adds all members of the archive.
func (x *tarIndex) read(r *tarReader) error {
	last := ""
	for {
		start := r.next
		m, err := r.header()
		switch {
		case errors.Is(err, io.EOF):
			more, err := r.another()
			if x.whiteouts != nil || err != nil || !more {
				return err
			}
			continue
		case errors.Is(err, errNoTarHeader) && start == 0:
			return ErrNotTar
		case start == r.size && x.whiteouts != nil:
			return nil
		case start == r.size:
			return fmt.Errorf("archive ends at byte %d, after member %s, without the zero blocks of a complete archive: %w",
				r.size, shortName(last), io.ErrUnexpectedEOF)
		case err != nil && m.name == "" && last == "":
			return fmt.Errorf("byte %d: %w", start, err)
		case err != nil && m.name == "":
			return fmt.Errorf("byte %d, after member %s: %w", start, shortName(last), err)
		case err == nil:
			err = x.add(m)
		}
		if err != nil {
			return fmt.Errorf("member %s: %w", shortName(m.name), err)
		}
		last = m.name
	}
}

// add adds one member.
func (x *tarIndex) add(m tarMember) error {
	name, err := cleanName(m.name)
	if err != nil {
		return err
	}
	if name, err = x.real(name); err != nil {
		return err
	}
	if x.whiteouts != nil {
		if is, err := x.whiteouts.add(name); is || err != nil {
			return err
		}
	}
	if m.kind == typeHardLink {
		return x.addLink(name, m.linkname)
	}
	e, err := m.entry(x.archive)
	if err != nil {
		return err
	}
	if name == rootName && !e.IsDir() {
		return errors.New("the root must be a directory")
	}
	if old, ok := x.names[name]; ok && e.IsDir() && x.isLink(old) && slices.Contains(mergedUsr, name) {
		return fmt.Errorf("it replaces the link to %s by a directory, which would hide the files there: pack it as %s",
			x.files[old.file].Linkname, strings.TrimPrefix(x.files[old.file].Linkname, "/"))
	}
	x.files = append(x.files, e)
	x.enter(name, len(x.files)-1)
	return nil
}

// enter maps a name to a file, instead of any other.
func (x *tarIndex) enter(name string, file int) {
	old, ok := x.names[name]
	switch {
	case !ok:
		x.ordered = append(x.ordered, name)
	case old.layer < x.layer && x.files[old.file].IsDir() && !x.files[file].IsDir():
		x.whiteouts.gone[name] = true // hide the content of the former directory
	}
	if x.isLink(named{file: file}) || ok && x.isLink(old) {
		x.links, x.parent.name = true, ""
	}
	x.names[name] = named{file, x.layer}
}

func (x *tarIndex) isLink(n named) bool { return x.files[n.file].Mode&unix.S_IFMT == unix.S_IFLNK }

// mergedUsr are the links of a merged /usr; see file-hierarchy(7).
var mergedUsr = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// real returns the name of a member after resolving the symbolic links in its directory within the
// tree. The links precede the member in the archive.
func (x *tarIndex) real(name string) (string, error) {
	if !x.links {
		return name, nil
	}
	dir := parentOf(name)
	if dir == rootName {
		return name, nil
	}
	if dir != x.parent.name {
		real, err := x.realDir(dir)
		if err != nil {
			return "", err
		}
		x.parent.name, x.parent.real = dir, real
	}
	return joinName(x.parent.real, path.Base(name)), nil
}

// realDir resolves all links in the name of a directory.
func (x *tarIndex) realDir(dir string) (string, error) {
	real, rest := rootName, dir
	for followed := 0; rest != ""; {
		part, after, _ := strings.Cut(rest, "/")
		rest = after
		switch part {
		case "", ".":
			continue
		case "..":
			real = parentOf(real)
			continue
		}
		next := joinName(real, part)
		at, ok := x.names[next]
		if !ok || !x.isLink(at) {
			if real = next; len(real) > maxPath {
				return "", fmt.Errorf("%s leads to %w", shortName(dir), errPathTooLong)
			}
			continue
		}
		if followed++; followed > maxLinks {
			return "", fmt.Errorf("%s leads through too many symbolic links", shortName(dir))
		}
		target := x.files[at.file].Linkname
		if strings.HasPrefix(target, "/") {
			real = rootName
		}
		rest = target + "/" + rest
	}
	return real, nil
}

// addLink adds a hard link to a file.
func (x *tarIndex) addLink(name, target string) error {
	first, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	if first, err = x.real(first); err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	to, ok := x.names[first]
	if !ok {
		return fmt.Errorf("hard link to %s, which is not in the archive before it", shortName(target))
	}
	if x.files[to.file].IsDir() {
		return fmt.Errorf("hard link to %s, which is a directory", shortName(target))
	}
	x.enter(name, to.file)
	return nil
}

// entry returns the member as an Entry without its name.
func (m *tarMember) entry(archive io.ReaderAt) (Entry, error) {
	kind, ok := m.fileType()
	if !ok {
		return Entry{}, fmt.Errorf("unknown type %q", m.kind)
	}
	if m.uid < 0 || m.gid < 0 || m.uid >= 1<<32 || m.gid >= 1<<32 {
		return Entry{}, fmt.Errorf("owner %d:%d is out of range", m.uid, m.gid)
	}
	e := Entry{
		Mode: kind | uint32(m.mode)&0o7777, UID: uint32(m.uid), GID: uint32(m.gid), ModTime: m.modTime,
		Xattrs: m.xattrs,
	}
	switch kind {
	case unix.S_IFREG:
		if m.size < 0 {
			return Entry{}, fmt.Errorf("size %d is out of range", m.size)
		}
		e.Size = m.size
		if m.holes {
			e.Data = m.extents()
		}
		if e.Size > 0 {
			e.Open = m.open(archive)
		}
	case unix.S_IFLNK:
		e.Mode |= 0o777 // as stat(2) shows every link
		e.Linkname = m.linkname
	case unix.S_IFCHR, unix.S_IFBLK:
		if m.major < 0 || m.minor < 0 || m.major >= 1<<32 || m.minor >= 1<<32 {
			return Entry{}, fmt.Errorf("device %d:%d is out of range", m.major, m.minor)
		}
		e.Major, e.Minor = uint32(m.major), uint32(m.minor)
	}
	return e, nil
}

// fileType returns the type of the member as in st_mode.
func (m *tarMember) fileType() (uint32, bool) {
	switch m.kind {
	case typeRegular, typeOldRegular, typeContiguous, typeSparse:
		if len(m.name) > 0 && m.name[len(m.name)-1] == '/' && m.stored == 0 {
			return unix.S_IFDIR, true // directories had no type of their own before POSIX
		}
		return unix.S_IFREG, true
	case typeDirectory:
		return unix.S_IFDIR, true
	case typeSymlink:
		return unix.S_IFLNK, true
	case typeFifo:
		return unix.S_IFIFO, true
	case typeChar:
		return unix.S_IFCHR, true
	case typeBlock:
		return unix.S_IFBLK, true
	}
	return 0, false
}

// open returns a function that opens the content, or nil if there is none.
func (m *tarMember) open(archive io.ReaderAt) func() (Content, error) {
	if m.holes {
		c := sparseContent{archive, m.size, m.parts}
		return func() (Content, error) { return c, nil }
	}
	data, size := m.data, m.size
	return func() (Content, error) { return tarContent{io.NewSectionReader(archive, data, size)}, nil }
}

// tarContent is a file that is stored in one piece.
type tarContent struct{ *io.SectionReader }

func (tarContent) Close() error { return nil }

// addParents adds missing directories, checks the others, and sorts all names.
func (x *tarIndex) addParents() error {
	x.sort()
	implied := make(map[string]bool)
	for _, name := range x.ordered {
		modTime := x.files[x.names[name].file].ModTime
		for dir := name; dir != rootName; {
			dir = parentOf(dir)
			above, ok := x.names[dir]
			if ok && !x.files[above.file].IsDir() {
				return fmt.Errorf("member %s: %s is not a directory", shortName(name), shortName(dir))
			}
			if ok && !implied[dir] {
				break // it and its parents were checked before
			}
			if !ok {
				implied[dir] = true
				x.files = append(x.files, DirEntry("", 0o755, modTime))
				x.enter(dir, len(x.files)-1)
			} else if x.files[above.file].ModTime.Before(modTime) {
				x.files[above.file].ModTime = modTime
			}
		}
	}
	if len(x.files) == 0 {
		return errors.New("no members")
	}
	x.sort()
	return nil
}

// sort puts the names in Tree order, which many archives already have.
func (x *tarIndex) sort() {
	if !slices.IsSortedFunc(x.ordered, comparePaths) {
		slices.SortFunc(x.ordered, comparePaths)
	}
}

// tarEntries is the index of an archive in the order of a Tree.
type tarEntries struct {
	files []Entry
	names []memberName
}

// memberName is one name of a file. The first of them in Tree order is the file itself,
// independently of the archive's order.
type memberName struct {
	name, first string
	file        int
}

// tree returns the finished index.
func (x *tarIndex) tree() Tree {
	t := tarEntries{files: x.files, names: make([]memberName, len(x.ordered))}
	first := make([]string, len(x.files))
	for i, name := range x.ordered {
		file := x.names[name].file
		t.names[i] = memberName{name, first[file], file}
		first[file] = cmp.Or(first[file], name)
	}
	return t
}

// Entries implements Tree.
func (t tarEntries) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, n := range t.names {
			e := t.files[n.file]
			e.Name = n.name
			if n.first != "" {
				e.HardLink, e.Open = n.first, nil
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}
