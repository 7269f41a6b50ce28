// SPDX-License-Identifier: Apache-2.0

// Package imagetree reads the system on a disk image as one directory tree, without mounting
// anything:
//
//	tree, err := imagetree.Open(file, size)
//	for e, err := range tree.Entries() { … }
//
// ReadDisk returns what else is known of a disk: its partitions and all file systems that are recognised.
//
// The root file system is the partition (or, without a partition table, the disk) that has /etc/fstab, else the one
// that has /etc/os-release. File systems on the same disk that it mounts appear at their mount points; fstab may name
// them by UUID, LABEL, PARTUUID, PARTLABEL, or as partitions of the first disk. ext2, ext3, ext4, FAT, squashfs,
// erofs, btrfs, XFS and f2fs are read; partitions with other file systems are left out. One of these types that the
// system needs to boot and that is not found is an error, because a tree without it would be another system. The Tree
// can be written to a tar archive or another image.
//
// Not supported: logical volumes, RAID, subvolumes that are mounted elsewhere. For image formats other
// than raw, see package format.
package imagetree

import (
	"errors"
	"io"
	"iter"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mount is a volume and its mount point.
type mount struct {
	dir  string // relative to the root, without a slash at either end
	tree diskimage.Tree
}

// Tree is the directory tree of a whole system.
type Tree struct {
	root   diskimage.Tree
	mounts []mount // the deepest first
}

// MountPoints returns where file systems of the disk other than the root are mounted: "/boot/efi".
func (t *Tree) MountPoints() []string {
	var names []string
	for _, m := range t.mounts {
		names = append(names, "/"+m.dir)
	}
	return names
}

// Open returns the system on a disk of size bytes.
func Open(r io.ReaderAt, size diskimage.Size) (*Tree, error) {
	d, err := ReadDisk(r, size)
	if err != nil {
		return nil, err
	}
	return d.System()
}

// ReadFile returns the content of a file up to 1 MiB, or nil if it is empty or does not exist.
func ReadFile(tree diskimage.Tree, name string) ([]byte, error) {
	const most = 1 << 20
	for e, err := range tree.Entries() {
		if err != nil {
			return nil, err
		}
		if e.Name != name || e.Open == nil {
			continue
		}
		c, err := e.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.NewSectionReader(c, 0, min(e.Size, most)))
		return data, errors.Join(err, c.Close())
	}
	return nil, nil
}

// Entries implements diskimage.Tree. Entries below a mount point are left out.
func (t *Tree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		t.below(t.root, "", yield)
	}
}

// below yields the entries of a tree that is mounted at dir, and those of the volumes mounted in
// it.
func (t *Tree) below(tree diskimage.Tree, dir string, yield func(diskimage.Entry, error) bool) bool {
	for e, err := range tree.Entries() {
		if err != nil {
			return yield(e, err)
		}
		e.Name = path.Join(dir, e.Name)
		if e.HardLink != "" {
			e.HardLink = path.Join(dir, e.HardLink)
		}
		if e.Name == dir && dir != "" {
			continue // the mount point was yielded in the file system above
		}
		covered := false
		for _, m := range t.mounts {
			covered = covered || strings.HasPrefix(e.Name, m.dir+"/") && len(m.dir) > len(dir)
		}
		if covered {
			continue
		}
		if !yield(e, nil) {
			return false
		}
		for _, m := range t.mounts {
			if m.dir == e.Name && e.Mode&unix.S_IFMT == unix.S_IFDIR && !t.below(m.tree, m.dir, yield) {
				return false
			}
		}
	}
	return true
}
