// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Maker builds a valid tree from random bytes, for fuzz tests.
type Maker struct {
	// Edges are the lengths of files, symbolic links and attributes at which the format on disk
	// changes.
	Edges []int
	// MaxSize is the maximum size of a file.
	MaxSize int
	// TimeBits is the range of times around 1970: about 2 to the power of TimeBits+7 seconds.
	TimeBits int

	data  []byte
	dirs  []string
	files []diskimage.Entry
}

const (
	// maxEntries keeps a test short.
	maxEntries = 500
	// maxFull is the maximum length of files without holes, which are kept in memory.
	maxFull = 10 << 20
	// maxName is NAME_MAX of Linux.
	maxName = 255
	// maxTarget is the longest symbolic link, PATH_MAX without its zero.
	maxTarget = 4095
)

// Tree builds a tree from data. The Maker must not be used again.
func (m Maker) Tree(data []byte) Tree {
	m.data = data
	tree := Tree{Dir(".")}
	m.dirs = []string{"."}
	seen := map[string]bool{}
	for len(m.data) > 0 && len(tree) < maxEntries {
		name := m.name()
		if seen[name] || len(path.Base(name)) > maxName {
			continue
		}
		seen[name] = true
		tree = append(tree, m.entry(name))
	}
	return tree
}

// next consumes one byte and returns it, or 0 at the end.
func (m *Maker) next() int {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return int(b)
}

// edge returns one of Edges, but no more than most.
func (m *Maker) edge(most int) int { return min(m.Edges[m.next()%len(m.Edges)], most) }

// name returns a name in one of the directories.
func (m *Maker) name() string {
	dir := m.dirs[m.next()%len(m.dirs)]
	length := min(1+m.next()%maxName, len(m.data))
	name := strings.NewReplacer("/", "|", "\x00", "0").Replace(string(m.data[:length]))
	m.data = m.data[length:]
	return path.Join(dir, name+"_")
}

// entry returns an entry with a name.
func (m *Maker) entry(name string) diskimage.Entry {
	kinds := []uint32{
		unix.S_IFREG, unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO,
		unix.S_IFSOCK, 0,
	}
	kind := kinds[m.next()%len(kinds)]
	if kind == 0 {
		if len(m.files) > 0 {
			return HardLink(name, m.files[m.next()%len(m.files)])
		}
		kind = unix.S_IFREG
	}
	e := Entry(name, kind|uint32(m.next()<<4))
	e.UID, e.GID = uint32(m.next()<<m.next()%32), uint32(m.next())
	e.ModTime = time.Unix(int64(m.next()-100)<<(m.next()%m.TimeBits), int64(m.next())*3906250)
	switch kind {
	case unix.S_IFREG:
		m.fill(&e)
	case unix.S_IFDIR:
		m.dirs = append(m.dirs, name)
	case unix.S_IFLNK:
		e.Linkname = strings.Repeat("s", max(1, m.edge(maxTarget)))
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = uint32(m.next()), uint32(m.next()<<(m.next()%8))
	}
	for i := range m.next() % 4 {
		e.Xattrs = append(e.Xattrs, diskimage.Xattr{
			Name:  fmt.Sprintf("user.%d%s", i, strings.Repeat("n", m.next()%100)),
			Value: Pattern(uint64(i), m.edge(1100)),
		})
	}
	if kind != unix.S_IFDIR {
		m.files = append(m.files, e)
	}
	return e
}

// fill sets the content of a file, which may have holes.
func (m *Maker) fill(e *diskimage.Entry) {
	size := m.edge(m.MaxSize)
	if m.next()%2 == 0 && size < maxFull {
		e.Size, e.Open = int64(size), Content(bytes.NewReader(Pattern(uint64(m.next()), size)))
		return
	}
	var offsets []int64
	for range m.next() % 8 {
		offsets = append(offsets, int64(m.edge(size)))
	}
	slices.Sort(offsets)
	sparse := Sparse(e.Name, int64(size)+1, 1, slices.Compact(offsets)...)
	e.Size, e.Data, e.Open, e.Dense = sparse.Size, sparse.Data, sparse.Open, m.next()%2 == 0 && size < maxFull
}
