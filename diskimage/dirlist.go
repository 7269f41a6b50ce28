// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// listing is the content of one directory.
type listing struct {
	name  string
	begun bool          // a goroutine reads it; guarded by readAhead.mu
	done  chan struct{} // closed when the fields below are complete
	// children are sorted by name.
	children []child
	err      error
}

func newListing(name string) *listing { return &listing{name: name, done: make(chan struct{})} }

// complete reports whether the directory has been read.
func (l *listing) complete() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// child is one name in a directory.
type child struct {
	entry  Entry
	id     inode
	linked bool     // a file with more than one name
	sub    *listing // of a directory
}

// lister reads directories. It is for one goroutine.
type lister struct {
	root   *os.File
	xattrs xattrReader
}

// openDir is an open directory and the path under which /proc shows its content.
type openDir struct {
	fd   int
	path string
}

func newOpenDir(dir *os.File) openDir {
	fd := int(dir.Fd())
	return openDir{fd, fmt.Sprintf("/proc/self/fd/%d/", fd)}
}

// list fills a listing.
func (r *lister) list(l *listing) {
	fd, err := openBelow(r.root, l.name, unix.O_DIRECTORY)
	if err != nil {
		l.err = pathError("open directory", l.name, err)
		return
	}
	file := os.NewFile(uintptr(fd), l.name)
	defer file.Close()
	names, err := file.Readdirnames(-1)
	if err != nil {
		l.err = pathError("read directory", l.name, err)
		return
	}
	slices.Sort(names)
	dir := newOpenDir(file)
	l.children = make([]child, 0, len(names))
	for _, base := range names {
		c, err := r.child(dir, base, joinName(l.name, base))
		if err != nil {
			l.err = err
			return
		}
		l.children = append(l.children, c)
	}
}

// child returns one name of a directory.
func (r *lister) child(dir openDir, base, name string) (child, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return child{}, pathError("stat", name, err)
	}
	e, err := r.entry(dir, base, name, &st)
	if err != nil {
		return child{}, pathError("read", name, err)
	}
	c := child{entry: e, id: inodeOf(&st)}
	if e.IsDir() {
		c.sub = newListing(name)
	} else {
		c.linked = st.Nlink > 1
	}
	return c, nil
}

func inodeOf(st *unix.Stat_t) inode { return inode{st.Dev, st.Ino} }

// entry returns the Entry of base in dir, whose status is st.
func (r *lister) entry(dir openDir, base, name string, st *unix.Stat_t) (Entry, error) {
	e := Entry{Name: name, Mode: st.Mode, UID: st.Uid, GID: st.Gid, ModTime: time.Unix(st.Mtim.Unix())}
	var err error
	if e.Xattrs, err = r.xattrs.read(dir, base); err != nil {
		return e, err
	}
	if r.xattrs.owners {
		if err := applyOwner(&e); err != nil {
			return e, err
		}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
		if st.Blocks*512 < st.Size {
			if e.Data, err = findData(dir.fd, base, st.Size); err != nil {
				return e, err
			}
		}
		if st.Size > 0 {
			root, id, size := r.root, inodeOf(st), st.Size
			e.Open = func() (Content, error) { return openContent(root, name, id, size) }
		}
	case unix.S_IFLNK:
		if e.Linkname, err = readLink(dir.fd, base, st.Size); err != nil {
			return e, err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return e, nil
}

// readLink reads the target of a symbolic link; size is its length according to stat.
func readLink(dir int, base string, size int64) (string, error) {
	for length := int(size) + 1; ; length *= 2 {
		buf := make([]byte, length)
		n, err := unix.Readlinkat(dir, base, buf)
		if err != nil {
			return "", err
		}
		if n < length {
			return string(buf[:n]), nil
		}
	}
}
