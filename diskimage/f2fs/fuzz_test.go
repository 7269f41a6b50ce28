package f2fs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// FuzzTree makes trees of bytes, and wants fsck.f2fs to find nothing and the reader to read back what was written.
func FuzzTree(f *testing.F) {
	f.Add([]byte{})
	for i := range byte(12) {
		f.Add(pattern(uint64(i), 200*int(i)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := (&treeMaker{data: data}).tree()
		const size = 96 * diskimage.MiB
		v, err := Formatter{}.Plan(size, filesystem(), tree)
		var noSpace *diskimage.NoSpaceError
		if errors.As(err, &noSpace) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		image := writeVolume(t, size, v)
		diskimagetest.Fsck(t, image)
		readBack(t, image, tree)
	})
}

// treeMaker makes a valid tree of any bytes.
type treeMaker struct {
	data  []byte
	dirs  []string
	files []diskimage.Entry
}

// next takes one byte; 0 at the end.
func (m *treeMaker) next() int {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return int(b)
}

// edges are the lengths where something changes.
var edges = []int{
	0, 1, 4, 100, 171, 172, 1000, disk.InlineDataSize - 1, disk.InlineDataSize, disk.InlineDataSize + 1, disk.BlockSize - 1,
	disk.BlockSize, disk.BlockSize + 1, firstDirect * disk.BlockSize, firstDirect*disk.BlockSize + 1,
	firstIndirect * disk.BlockSize, firstIndirect*disk.BlockSize + 1, firstDouble * disk.BlockSize, firstDouble*disk.BlockSize + 1,
}

func (m *treeMaker) edge(most int) int { return min(edges[m.next()%len(edges)], most) }

// name takes a name in one of the directories.
func (m *treeMaker) name() string {
	dir := m.dirs[m.next()%len(m.dirs)]
	length := min(1+m.next()%disk.MaxNameLength, len(m.data))
	name := strings.NewReplacer("/", "|", "\x00", "0").Replace(string(m.data[:length]))
	m.data = m.data[length:]
	return path.Join(dir, name+"_")
}

func (m *treeMaker) tree() memTree {
	tree := memTree{dirAt(".")}
	m.dirs = []string{"."}
	seen := map[string]bool{}
	for len(m.data) > 0 && len(tree) < 500 {
		name := m.name()
		base := path.Base(name)
		if seen[name] || len(base) > disk.MaxNameLength {
			continue
		}
		seen[name] = true
		tree = append(tree, m.entry(name))
	}
	return tree
}

func (m *treeMaker) entry(name string) diskimage.Entry {
	kinds := []uint32{
		unix.S_IFREG, unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK, 0,
	}
	kind := kinds[m.next()%len(kinds)]
	if kind == 0 {
		if len(m.files) > 0 {
			return hardLinkAt(name, m.files[m.next()%len(m.files)])
		}
		kind = unix.S_IFREG
	}
	e := entry(name, kind|uint32(m.next()<<4))
	e.UID, e.GID = uint32(m.next()<<m.next()%32), uint32(m.next())
	e.ModTime = time.Unix(int64(m.next()-100)<<(m.next()%48), int64(m.next())*3906250)
	switch kind {
	case unix.S_IFREG:
		m.fill(&e)
	case unix.S_IFDIR:
		m.dirs = append(m.dirs, name)
	case unix.S_IFLNK:
		e.Linkname = strings.Repeat("s", max(1, m.edge(disk.BlockSize-1)))
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = uint32(m.next()), uint32(m.next()<<(m.next()%8))
	}
	for i := range m.next() % 4 {
		e.Xattrs = append(e.Xattrs, diskimage.Xattr{
			Name: fmt.Sprintf("user.%d%s", i, strings.Repeat("n", m.next()%100)), Value: pattern(uint64(i), m.edge(1100)),
		})
	}
	if kind != unix.S_IFDIR {
		m.files = append(m.files, e)
	}
	return e
}

// fill gives a file a content, perhaps with holes.
func (m *treeMaker) fill(e *diskimage.Entry) {
	size := m.edge(1 << 34)
	if m.next()%2 == 0 && size < 10<<20 {
		data := pattern(uint64(m.next()), size)
		e.Size, e.Open = int64(size), bytesContent(data)
		return
	}
	var places []int64
	for range m.next() % 8 {
		places = append(places, int64(m.edge(size)))
	}
	slices.Sort(places)
	sparse := sparseAt(e.Name, int64(size)+1, 1, slices.Compact(places)...)
	e.Size, e.Data, e.Open, e.Dense = sparse.Size, sparse.Data, sparse.Open, m.next()%2 == 0 && size < 1<<20
}
