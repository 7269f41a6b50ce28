// SPDX-License-Identifier: Apache-2.0

package iso9660

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const (
	// systemArea is the number of blocks before the descriptors (ECMA-119, 6.2.1).
	systemArea = 16
	// fileAlignment is that of files, in blocks: 4 KiB, the block size of most file systems.
	fileAlignment = 2
	// partitionAlignment is that of partitions, in blocks: 1 MiB.
	partitionAlignment = 512
	// maxDepth is the number of levels of directories with the root (ECMA-119, 6.8.2.1).
	maxDepth = 8
	// maxDirectories are those that path tables number in 16 bits.
	maxDirectories = 1<<16 - 1
	// maxBlocks are those that 32 bits count.
	maxBlocks = 1<<32 - 1
)

// node is a file or directory.
type node struct {
	entry    diskimage.Entry
	parent   *node // of the root: itself
	children []*node
	// id is the identifier by ECMA-119: "VMLINUZ.;1".
	id string
	// block is the first block of a file's content, from the start of the partition.
	block uint32
	// target is the node with the content of a hard link, else nil.
	target *node

	// number is that of a directory in the path tables, from 1.
	number int
	// offset is where a directory's records are, in blocks from the first directory; they take length bytes, in whole
	// blocks, and after them come continuation blocks.
	offset, length, continuation uint32
}

// filesystem is a planned file system.
type filesystem struct {
	medium Medium
	root   *node
	byName map[string]*node
	// directories are in the order of the path tables.
	directories []*node
	// contents are the files with data, in the order of the tree.
	contents []*node
	// pathTable is the length of a path table in bytes, and metadata the number of blocks that path tables and
	// directories take.
	pathTable, metadata uint32
	// start is the first block of the partition, and end the number of blocks of the file system in it.
	start, end uint32
}

// newFilesystem plans the file system.
func newFilesystem(m Medium) (*filesystem, error) {
	f := &filesystem{medium: m, byName: map[string]*node{}}
	if err := f.readTree(m.Files); err != nil {
		return nil, err
	}
	f.layOutDirectories()
	if n := len(f.directories); n > maxDirectories {
		return nil, fmt.Errorf("there are %d directories; a medium holds %d", n, maxDirectories)
	}
	f.start = roundUp(systemArea+headDescriptors+f.metadata, partitionAlignment)
	next := uint64(systemArea + partitionDescriptors + f.metadata)
	for _, n := range f.contents {
		next = (next + fileAlignment - 1) / fileAlignment * fileAlignment
		n.block = uint32(next)
		next += uint64(blocks(n.entry.Size))
		if next+uint64(f.start) > maxBlocks {
			return nil, fmt.Errorf("%q ends after block %d, the last one of a medium", n.entry.Name, uint64(maxBlocks))
		}
	}
	f.end = uint32(next)
	return f, nil
}

// readTree makes nodes of the tree.
func (f *filesystem) readTree(tree diskimage.Tree) error {
	for e, err := range tree.Entries() {
		if err != nil {
			return err
		}
		n := &node{entry: e}
		if e.Name == "." {
			n.parent, f.root = n, n
			f.byName[e.Name] = n
			continue
		}
		n.parent = f.byName[path.Dir(e.Name)]
		switch e.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if depth := strings.Count(e.Name, "/") + 2; depth > maxDepth {
				return fmt.Errorf("%q is at level %d; directories of a medium have %d levels at most", e.Name, depth, maxDepth)
			}
		case unix.S_IFREG:
		case unix.S_IFLNK:
			if n := len(target(e.Linkname)); n > maxData {
				return fmt.Errorf("the target of the link %q takes %d bytes; a medium holds %d", e.Name, n, maxData)
			}
		default:
			return fmt.Errorf("%q is no file, directory or symbolic link, and a medium holds nothing else", e.Name)
		}
		if n.parent == nil || !n.parent.entry.IsDir() {
			return fmt.Errorf("BUG: %q is in no directory", e.Name)
		}
		if e.HardLink != "" {
			n.target = f.byName[e.HardLink]
			if n.target == nil {
				return fmt.Errorf("BUG: %q is a link to %q, which did not come before", e.Name, e.HardLink)
			}
		} else if e.IsRegular() && e.Size > 0 {
			f.contents = append(f.contents, n)
		}
		n.parent.children = append(n.parent.children, n)
		f.byName[e.Name] = n
	}
	for _, n := range f.byName {
		nameChildren(n)
	}
	return nil
}

// layOutDirectories numbers the directories, breadth first, as the path tables want them (ECMA-119, 6.9.1), and gives
// each its blocks.
func (f *filesystem) layOutDirectories() {
	level := []*node{f.root}
	for len(level) > 0 {
		var next []*node
		for _, d := range level {
			f.directories = append(f.directories, d)
			d.number = len(f.directories)
			f.pathTable += pathRecordLength(d)
			for _, c := range d.children {
				if c.entry.IsDir() {
					next = append(next, c)
				}
			}
		}
		level = next
	}
	tables := 2 * blocks(int64(f.pathTable))
	var offset uint32
	for _, d := range f.directories {
		records, continuation := d.encode(view{}) // the lengths do not depend on positions
		d.offset, d.length, d.continuation = offset, uint32(len(records)), blocks(int64(len(continuation)))
		offset += blocks(int64(len(records))) + d.continuation
	}
	f.metadata = tables + offset
}

// nameChildren gives the files of a directory their identifiers, and sorts them by these (ECMA-119, 9.3).
func nameChildren(d *node) {
	taken := map[string]bool{}
	for _, c := range d.children { // in the order of the tree
		c.id = uniqueID(path.Base(c.entry.Name), c.entry.IsDir(), taken)
		taken[c.id] = true
	}
	slices.SortFunc(d.children, func(a, b *node) int {
		nameA, extA, _ := strings.Cut(a.id, ".")
		nameB, extB, _ := strings.Cut(b.id, ".")
		return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(extA, extB))
	})
}

// Limits of identifiers (ECMA-119, 7.5.1 and 7.6.3): level 2.
const (
	maxFileID      = 30 // name and extension, without the dot
	maxExtension   = 10
	maxDirectoryID = 31
	version        = ";1"
)

// uniqueID makes an identifier of a name: "vmlinuz-6.12" becomes "VMLINUZ_6.12;1". Several that would be the same end
// with a number.
func uniqueID(name string, dir bool, taken map[string]bool) string {
	stem, extension := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && !dir && len(name)-dot-1 <= maxExtension {
		stem, extension = name[:dot], name[dot+1:]
	}
	stem, extension = dCharacters(stem), dCharacters(extension)
	limit, end := maxDirectoryID, ""
	if !dir {
		limit, end = maxFileID-len(extension), "."+extension+version
	}
	for i := 0; ; i++ {
		number := ""
		if i > 0 {
			number = fmt.Sprintf("_%d", i)
		}
		if id := stem[:min(len(stem), limit-len(number))] + number + end; !taken[id] {
			return id
		}
	}
}

// dCharacters replaces what is no d-character (ECMA-119, 7.4.1).
func dCharacters(text string) string {
	out := []byte(text)
	for i, c := range out {
		switch {
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z':
			out[i] = c - 'a' + 'A'
		default:
			out[i] = '_'
		}
	}
	return string(out)
}

// blocks returns the number of blocks that bytes take.
func blocks(bytes int64) uint32 { return uint32((bytes + BlockSize - 1) / BlockSize) }

func roundUp(n, unit uint32) uint32 { return (n + unit - 1) / unit * unit }
