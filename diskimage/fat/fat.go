// SPDX-License-Identifier: Apache-2.0

// Package fat writes FAT12, FAT16 and FAT32 file systems from a diskimage.Tree, without mounting
// anything and without mkfs.fat or mtools.
//
// The whole file system is planned first. Every file gets one contiguous run of clusters, in the
// order of the tree, so the same tree produces the same bytes, and boot loaders can be given the
// locations of files. Long names are those of VFAT, and short names are derived from them as
// Windows does it. Times are in UTC, as mount(8) reads them with tz=UTC; by default Linux assumes
// the time zone of the machine. A partition of diskimage.FAT32From or more becomes a FAT32, one
// below 16 MiB a FAT12, and one between a FAT16.
//
// The format is that of Microsoft's "FAT32 File System Specification" 1.03 (fatgen103), called
// fatgen here, as fsck.fat interprets it.
//
// Not supported by the format: symbolic links, devices, sockets and pipes, files of 4 GiB and more,
// names that differ only in case, names with control characters or any of "*/:<>?\| or a dot or
// blank at the end. A tree with these is an error that names the file. Owners, permissions,
// extended attributes and holes are dropped; a hard link becomes a copy. The boot sector holds no
// boot loader.
package fat

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"path"
	"time"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Formatter makes FAT file systems. The zero value is ready for use.
type Formatter struct{}

var (
	_ diskimage.Formatter = Formatter{}
	_ diskimage.UsedSpace = (*volume)(nil)
)

// VolumeID returns the volume ID of a FAT made with a UUID, in the form of blkid(8) and of UUID= in
// fstab(5): "DEB1-A400" for a UUID that begins with deb1a400.
func VolumeID(id uuid.UUID) string { return fmt.Sprintf("%X-%X", id[:2], id[2:4]) }

// volumeSerial returns the volume ID as the boot sector stores it.
func volumeSerial(id uuid.UUID) uint32 { return binary.BigEndian.Uint32(id[:4]) }

// Plan implements diskimage.Formatter. Errors about a tree that FAT cannot hold name the file; they
// depend only on names and sizes, because no content is read. Features and Seed are ignored.
func (Formatter) Plan(size diskimage.Size, f diskimage.Filesystem, tree diskimage.Tree) (diskimage.Volume, error) {
	label, err := encodeLabel(f.Label)
	if err != nil {
		return nil, err
	}
	if f.StartLBA > math.MaxUint32 {
		return nil, fmt.Errorf("fat: the partition at sector %d is out of range: hidden sectors have 32 bits", f.StartLBA)
	}
	if f.SectorSize == 0 {
		f.SectorSize = diskimage.SectorSize
	}
	if f.SectorSize != diskimage.SectorSize && f.SectorSize != diskimage.SectorSize4K {
		return nil, fmt.Errorf("fat: sectors of %d bytes: only %d and %d are supported", f.SectorSize,
			diskimage.SectorSize,
			diskimage.SectorSize4K)
	}
	g, err := newGeometry(size, f.SectorSize)
	if err != nil {
		return nil, err
	}
	root, err := readTree(tree)
	if err != nil {
		return nil, err
	}
	v := &volume{geometry: g, root: root, label: label, time: f.Time, serial: volumeSerial(f.UUID),
		hidden: uint32(f.StartLBA)}
	v.files = make(map[string]*node)
	return v, v.allocate()
}

// volume is a planned file system.
type volume struct {
	geometry
	root   *node
	files  map[string]*node // regular files by name
	chains []chain          // in the order of the clusters
	label  label
	time   time.Time
	serial uint32
	hidden uint32 // sectors before the partition
}

// chain is a run of clusters that hold one file or directory.
type chain struct {
	node  *node
	first uint32
	count uint32
}

// allocate assigns clusters to each directory and file: depth first, a directory before its
// content.
func (v *volume) allocate() error {
	if err := v.layOut(v.root); err != nil {
		return err
	}
	needed := uint64(0)
	for _, c := range v.chains {
		needed += uint64(c.count)
	}
	if needed > uint64(v.clusters) {
		return &diskimage.NoSpaceError{
			What: "clusters", Needed: needed, Available: uint64(v.clusters), BlockSize: uint64(v.clusterSize()),
		}
	}
	next := uint32(firstCluster)
	for i := range v.chains {
		c := &v.chains[i]
		c.first, c.node.cluster = next, next
		next += c.count
	}
	return nil
}

// layOut computes the length of a directory, and adds chains for it and its content.
func (v *volume) layOut(n *node) error {
	if !n.isDir {
		v.files[n.name] = n
		v.addChain(n)
		return nil
	}
	entries, err := n.nameChildren()
	if err != nil {
		return err
	}
	switch {
	case n.parent != nil:
		entries += 2 // "." and ".."
	case !v.label.isEmpty():
		entries++
	}
	if entries > maxDirEntries {
		return fmt.Errorf("directory %q needs %d entries; FAT allows %d", n.name, entries, maxDirEntries)
	}
	n.size = int64(entries) * dirEntrySize
	switch {
	case n.parent != nil:
		v.addChain(n)
	case v.bits == 32:
		n.size = max(n.size, dirEntrySize) // the root has a cluster even if it is empty
		v.addChain(n)
	case entries > v.rootEntries:
		return &diskimage.NoSpaceError{
			What: "entries in the root directory", Needed: uint64(entries), Available: uint64(v.rootEntries),
		}
	}
	for _, child := range n.children {
		if err := v.layOut(child); err != nil {
			return err
		}
	}
	return nil
}

// addChain adds a chain for the clusters of a node. An empty file has none.
func (v *volume) addChain(n *node) {
	size := int64(v.clusterSize())
	if count := (n.size + size - 1) / size; count > 0 {
		v.chains = append(v.chains, chain{node: n, count: uint32(count)}) // a file has less than 4 GiB
	}
}

// used returns the number of clusters in use.
func (v *volume) used() uint32 {
	if len(v.chains) == 0 {
		return 0
	}
	last := v.chains[len(v.chains)-1]
	return last.first + last.count - firstCluster
}

// Used implements diskimage.UsedSpace: the whole FATs, in which zeros are free clusters, and the
// used clusters.
func (v *volume) Used() []diskimage.Extent {
	return []diskimage.Extent{{Length: v.clusterOffset(firstCluster + v.used())}}
}

// Zeros implements diskimage.UsedSpace: no range is long enough to be reported.
func (v *volume) Zeros() []diskimage.Extent { return nil }

// Extents implements diskimage.Volume. A file is always contiguous.
func (v *volume) Extents(name string) ([]diskimage.Extent, error) {
	n, ok := v.files[path.Clean(name)]
	if !ok {
		return nil, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
	}
	if n.size == 0 {
		return nil, nil
	}
	return []diskimage.Extent{{Offset: v.clusterOffset(n.cluster), Length: n.size}}, nil
}
