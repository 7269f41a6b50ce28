package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NewDirTree is the directory root as a Tree. Run it where the owners of the files look as the image should record
// them: as root, or inside the user namespace that the files were made in.
//
// The tree may be hostile: no symbolic link in it is followed, neither for metadata nor for content, so nothing outside
// of root is ever read. Mount points are walked into. A tree that changes meanwhile gives an error where that matters.
// /proc must be mounted, for the extended attributes.
func NewDirTree(root string) Tree { return dirTree{root} }

type dirTree struct{ root string }

// dirWalk is one walk over a directory tree.
type dirWalk struct {
	root  *os.File // pins the root; closed when the last Entry of it is gone
	seen  map[inode]string
	yield func(Entry, error) bool
}

// inode tells whether two names are the same file.
type inode struct{ dev, ino uint64 }

// Entries implements Tree.
func (t dirTree) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		root, err := os.OpenFile(t.root, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			yield(Entry{}, fmt.Errorf("read tree: %w", err))
			return
		}
		w := &dirWalk{root: root, seen: make(map[inode]string), yield: yield}
		var st unix.Stat_t
		err = unix.Fstat(int(root.Fd()), &st)
		var e Entry
		if err == nil {
			e, err = w.entry(root, ".", rootName, &st)
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("read tree %s: %w", t.root, err))
			return
		}
		if yield(e, nil) {
			w.directory(root, rootName)
		}
	}
}

// directory yields what is in an open directory; false ends the walk.
func (w *dirWalk) directory(dir *os.File, dirName string) bool {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return w.fail("read directory", dirName, err)
	}
	slices.Sort(names)
	for _, base := range names {
		if !w.child(dir, base, joinName(dirName, base)) {
			return false
		}
	}
	return true
}

// child yields one name of a directory and, if that is a directory, what is in it.
func (w *dirWalk) child(dir *os.File, base, name string) bool {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return w.fail("stat", name, err)
	}
	e, err := w.entry(dir, base, name, &st)
	if err != nil {
		return w.fail("read", name, err)
	}
	if !w.yield(e, nil) {
		return false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return true
	}
	sub, err := openAt(dir, base, unix.O_DIRECTORY)
	if err != nil {
		return w.fail("open directory", name, err)
	}
	defer sub.Close()
	return w.directory(sub, name)
}

// fail yields an error and ends the walk.
func (w *dirWalk) fail(op, name string, err error) bool {
	w.yield(Entry{}, &fs.PathError{Op: op, Path: name, Err: err})
	return false
}

// entry describes base in dir, whose status is st.
func (w *dirWalk) entry(dir *os.File, base, name string, st *unix.Stat_t) (Entry, error) {
	e := Entry{Name: name, Mode: st.Mode, UID: st.Uid, GID: st.Gid, ModTime: time.Unix(st.Mtim.Unix())}
	id := inode{st.Dev, st.Ino}
	var err error
	if e.Xattrs, err = readXattrs(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), base)); err != nil {
		return e, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
		if st.Blocks*512 < st.Size {
			if e.Data, err = findData(dir, base, st.Size); err != nil {
				return e, err
			}
		}
		if st.Size > 0 {
			e.Open = func() (Content, error) { return openContent(w.root, name, id, st.Size) }
		}
	case unix.S_IFLNK:
		if e.Linkname, err = readLink(dir, base, st.Size); err != nil {
			return e, err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if first, ok := w.seen[id]; ok {
			e.HardLink, e.Open = first, nil
		} else {
			w.seen[id] = name
		}
	}
	return e, nil
}

// openAt opens one name in a directory without following a link.
func openAt(dir *os.File, base string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), base, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), base), nil
}

// openContent opens a file of the tree again and makes sure that it is still the same one.
func openContent(root *os.File, name string, id inode, size int64) (Content, error) {
	file, err := openBelow(root, name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(file.Fd()), &st); err == nil && (id != inode{st.Dev, st.Ino} || st.Size != size) {
		err = errors.New("file has changed since the tree was read")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.Join(err, file.Close())}
	}
	return file, nil
}

// openBelow opens a path under root, none of whose parts may be a symbolic link.
func openBelow(root *os.File, name string) (*os.File, error) {
	defer runtime.KeepAlive(root)
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err == nil {
		return os.NewFile(uintptr(fd), name), nil
	}
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return nil, err
	}
	return openParts(root, name)
}

// openParts is openBelow for Linux before 5.6, or where a seccomp filter does not know the call: it opens one part of
// the path after the other. The path must not hold "..".
func openParts(root *os.File, name string) (*os.File, error) {
	dir, rest := root, name
	for {
		base, next, more := strings.Cut(rest, "/")
		flags := 0
		if more {
			flags = unix.O_DIRECTORY
		}
		file, err := openAt(dir, base, flags)
		if dir != root {
			dir.Close()
		}
		if err != nil || !more {
			return file, err
		}
		dir, rest = file, next
	}
}

// readLink reads the text of a symbolic link; size is what stat says of its length.
func readLink(dir *os.File, base string, size int64) (string, error) {
	for length := int(size) + 1; ; length *= 2 {
		buf := make([]byte, length)
		n, err := unix.Readlinkat(int(dir.Fd()), base, buf)
		if err != nil {
			return "", err
		}
		if n < length {
			return string(buf[:n]), nil
		}
	}
}

// findData lists the parts of a sparse file that are not holes; nil if there are no holes after all.
func findData(dir *os.File, base string, size int64) ([]Extent, error) {
	file, err := openAt(dir, base, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fd := int(file.Fd())
	data := []Extent{}
	for offset := int64(0); offset < size; {
		start, err := unix.Seek(fd, offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		if start >= size || end <= start {
			break
		}
		end = min(end, size)
		data = append(data, Extent{Offset: start, Length: end - start})
		offset = end
	}
	if len(data) == 1 && data[0].Length == size {
		return nil, nil
	}
	return data, nil
}

// readXattrs reads the extended attributes of a file, not following a link at the end of its path.
func readXattrs(file string) ([]Xattr, error) {
	list, err := growing(func(b []byte) (int, error) { return unix.Llistxattr(file, b) })
	if errors.Is(err, unix.ENOTSUP) || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	names := strings.Split(strings.TrimRight(string(list), "\x00"), "\x00")
	slices.Sort(names)
	var xattrs []Xattr
	for _, name := range names {
		if !keepXattr(name) {
			continue
		}
		value, err := growing(func(b []byte) (int, error) { return unix.Lgetxattr(file, name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not for us
		}
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		xattrs = append(xattrs, Xattr{Name: name, Value: plainXattr(name, value)})
	}
	return xattrs, nil
}

// growing calls a system call that fills a buffer, with a larger buffer until everything fits.
func growing(call func([]byte) (int, error)) ([]byte, error) {
	for buf := make([]byte, 256); ; buf = make([]byte, 4*len(buf)) {
		n, err := call(buf)
		if errors.Is(err, unix.ERANGE) && len(buf) < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n:n], nil
	}
}

// keepXattr says which extended attributes belong into an image: file capabilities, access control lists and the
// users' own. Left out is what is about this host (security labels, trusted.*) or about the container storage that the
// tree happens to lie in.
func keepXattr(name string) bool {
	switch {
	case name == "security.capability", name == "system.posix_acl_access", name == "system.posix_acl_default":
		return true
	case strings.HasPrefix(name, "user.overlay."), strings.HasPrefix(name, "user.fuseoverlayfs."),
		strings.HasPrefix(name, "user.containers."):
		return false
	default:
		return strings.HasPrefix(name, "user.")
	}
}

// The forms of security.capability: linux/capability.h, struct vfs_cap_data and vfs_ns_cap_data. Version 3 is
// version 2 followed by the root user of the namespace that it is valid in.
const (
	capRevisionMask = 0xff000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capLength2      = 20
	capLength3      = 24
)

// plainXattr gives an attribute the form it has outside of any user namespace: capabilities that are valid for user 0
// are the ordinary ones of version 2. (The kernel does it by itself for the namespace that reads.)
func plainXattr(name string, value []byte) []byte {
	if name != "security.capability" || len(value) != capLength3 {
		return value
	}
	magic := binary.LittleEndian.Uint32(value)
	if magic&capRevisionMask != capRevision3 || binary.LittleEndian.Uint32(value[capLength2:]) != 0 {
		return value
	}
	value = bytes.Clone(value[:capLength2])
	binary.LittleEndian.PutUint32(value, magic&^capRevisionMask|capRevision2)
	return value
}
