// SPDX-License-Identifier: Apache-2.0

// Package imagetree reads the system on a disk image as one directory tree, without mounting
// anything:
//
//	tree, err := imagetree.Open(file, size)
//	for e, err := range tree.Entries() { … }
//
// The root file system is the partition (or, without a partition table, the disk) that has
// /etc/fstab. File systems on the same disk that it mounts by UUID, as Debian does for /boot and
// /boot/efi, appear at their mount points. ext2, ext3, ext4 and FAT are supported; partitions with
// other file systems are left out. One of these types that the system needs to boot and that is not
// found is an error, because a tree without it would be another system. The Tree can be written to a
// tar archive or another image.
//
// Not supported: logical volumes, RAID, subvolumes. For image formats other than raw, see package format.
package imagetree

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat/fatread"
)

// Volume is one file system of a disk.
type Volume struct {
	diskimage.Tree
	Start int64  // on the disk, in bytes
	UUID  string // as in fstab
}

// Volumes opens the disk and each of its partitions, as far as they have supported file systems that
// can be read.
func Volumes(r io.ReaderAt, size diskimage.Size) ([]Volume, error) {
	d, err := readDisk(r, size)
	return d.volumes, err
}

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

// Open opens the file systems of a disk of size bytes.
func Open(r io.ReaderAt, size diskimage.Size) (*Tree, error) {
	d, err := readDisk(r, size)
	if err != nil {
		return nil, err
	}
	for _, v := range d.volumes {
		fstab, err := ReadFile(v, "etc/fstab")
		if err != nil {
			return nil, err
		}
		if fstab != nil || d.partitions < 2 {
			return d.mount(v, fstab)
		}
	}
	return nil, errors.Join(append(d.problems, errors.New("no file system has /etc/fstab"))...)
}

// disk is what was found on a disk.
type disk struct {
	partitions int
	volumes    []Volume
	problems   []error // why partitions with a supported file system cannot be read
}

// readDisk opens each partition with a supported file system.
func readDisk(r io.ReaderAt, size diskimage.Size) (disk, error) {
	sections, starts := []io.ReaderAt{r}, []int64{0}
	partitions, err := diskimage.ReadTable(r, size)
	if err != nil && !errors.Is(err, diskimage.ErrNoTable) {
		return disk{}, err
	}
	for _, p := range partitions {
		sections, starts = append(sections, p.Section(r)), append(starts, int64(p.Start))
	}
	d := disk{partitions: len(partitions)}
	for i, section := range sections {
		v, err := readVolume(section)
		switch {
		case err == nil:
			v.Start = starts[i]
			d.volumes = append(d.volumes, v)
		case !errors.Is(err, extread.ErrNoExt) && !errors.Is(err, fatread.ErrNoFAT):
			d.problems = append(d.problems, fmt.Errorf("partition %d: %w", i, err))
		}
	}
	if len(d.volumes) == 0 {
		return disk{}, errors.Join(append(d.problems, errors.New("there is no ext2, ext3, ext4 or FAT file system"))...)
	}
	return d, nil
}

// mount returns the tree of a root file system and of those that it mounts.
func (d disk) mount(root Volume, fstab []byte) (*Tree, error) {
	t := &Tree{root: root.Tree}
	for _, p := range mountPoints(fstab) {
		i := slices.IndexFunc(d.volumes, func(v Volume) bool { return v.UUID == p.uuid && v.Tree != root.Tree })
		if i >= 0 {
			t.mounts = append(t.mounts, mount{p.dir, d.volumes[i].Tree})
		} else if p.required {
			return nil, errors.Join(append(d.problems,
				fmt.Errorf("/etc/fstab mounts UUID %s at /%s, and no partition has it", p.uuid, p.dir))...)
		}
	}
	slices.SortFunc(t.mounts, func(a, b mount) int { return strings.Compare(b.dir, a.dir) })
	return t, nil
}

// readVolume opens a file system of unknown type.
func readVolume(r io.ReaderAt) (Volume, error) {
	extFS, err := extread.New(r)
	if err == nil {
		return Volume{Tree: extFS, UUID: extFS.UUID().String()}, nil
	}
	if !errors.Is(err, extread.ErrNoExt) {
		return Volume{}, err
	}
	fatFS, err := fatread.New(r)
	if err != nil {
		return Volume{}, err
	}
	return Volume{Tree: fatFS, UUID: fatFS.VolumeID()}, nil
}

// mountPoint is a line of fstab(5) with a UUID.
type mountPoint struct {
	dir, uuid string
	required  bool // the type is supported, and the system does not boot without it
}

// mountPoints returns the lines of an fstab(5) with a UUID, except for the root.
func mountPoints(fstab []byte) []mountPoint {
	supported := []string{"ext2", "ext3", "ext4", "vfat"}
	var points []mountPoint
	for line := range strings.Lines(string(fstab)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		uuid, ok := strings.CutPrefix(fields[0], "UUID=")
		dir := strings.Trim(path.Clean(fields[1]), "/")
		if !ok || !strings.HasPrefix(fields[1], "/") || dir == "" {
			continue
		}
		p := mountPoint{dir: dir, uuid: strings.Trim(uuid, `"`)}
		if len(fields) > 3 {
			options := strings.Split(fields[3], ",")
			p.required = slices.Contains(supported, fields[2]) && !slices.Contains(options, "nofail") &&
				!slices.Contains(options, "noauto")
		}
		points = append(points, p)
	}
	return points
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
