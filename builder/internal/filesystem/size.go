// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// MinimumSize returns the size of a file system that holds the tree and lets an ordinary user write free bytes.
func MinimumSize(f diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error) {
	minimum := Lookup(f.Type).minimum
	if minimum == nil {
		return 0, fmt.Errorf("--size=auto is not possible with a root file system of type %s", f.Type)
	}
	return minimum(f, tree, free)
}

// sizeEstimate describes the space that a file system needs in addition to the data of its files. The figures are
// generous: too much is free space, but too little fails the build at its end.
type sizeEstimate struct {
	entry   diskimage.Size // for each file or directory: inode, names, index
	percent diskimage.Size // of everything, for structures that grow with the file system
	fixed   diskimage.Size // log, reserved segments, first chunks
	least   diskimage.Size // what mkfs requires at least
	mkfs    mkfsEstimate   // what mkfs requires for a directory, even if it will use less
}

// mkfsEstimate describes how a mkfs program estimates the size before it copies a directory.
type mkfsEstimate struct {
	entry   diskimage.Size // for each file or directory
	percent diskimage.Size // of the data
	fixed   diskimage.Size
}

// estimateBlock is the block size of all these file systems.
const estimateBlock = 4 * diskimage.KiB

// btrfsEstimate: metadata is stored twice, in leaves of 16 KiB that are two thirds full; data is allocated in chunks of
// a tenth of the disk. mkfs.btrfs requires 109 to 126 MiB. For a directory (mkfs/rootdir.c, btrfs_mkfs_size_dir) it
// requires, for each file, three names of maximum length and a sector, and an eighth of the data, all that twice, in
// chunks.
var btrfsEstimate = sizeEstimate{
	entry: 3 * diskimage.KiB, percent: 12, fixed: 160 * diskimage.MiB, least: 256 * diskimage.MiB,
	mkfs: mkfsEstimate{entry: 32 * diskimage.KiB, percent: 125, fixed: 256 * diskimage.MiB},
}

// xfsEstimate: an inode of 512 bytes and its names; free space and reverse maps; a log of 64 MiB. mkfs.xfs requires
// 300 MiB.
var xfsEstimate = sizeEstimate{
	entry: 1 * diskimage.KiB, percent: 6, fixed: 80 * diskimage.MiB, least: 300 * diskimage.MiB,
}

// size returns the space for the tree and the free bytes.
func (e sizeEstimate) size(_ diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error) {
	var entries, data diskimage.Size
	for entry, err := range tree.Entries() {
		if err != nil {
			return 0, err
		}
		entries++
		if entry.HardLink != "" {
			continue
		}
		parts := entry.Data
		if parts == nil {
			parts = []diskimage.Extent{{Length: entry.Size}}
		}
		for _, part := range parts {
			blocks := (diskimage.Size(part.Length) + estimateBlock - 1) / estimateBlock
			data += blocks * estimateBlock
		}
	}
	needed := free + entries*e.entry + data
	required := entries*e.mkfs.entry + data/100*e.mkfs.percent + e.mkfs.fixed
	return max(needed+needed/100*e.percent+e.fixed, required, e.least), nil
}

// EstimateSize returns the size of a file system that holds about so many bytes in files of a usual size, when their
// names are not known yet. 0 stands for a type whose size depends on its content, because it is compressed.
func EstimateSize(f diskimage.Filesystem, data diskimage.Size) (diskimage.Size, error) {
	if Lookup(f.Type).ReadOnly {
		return 0, nil
	}
	// minbase of trixie has 5,600 files of together 126 MB. Multiples of blocks, which estimate too little, not too much.
	const usual = 32 * diskimage.KiB
	return MinimumSize(f, usualFiles{int(data / usual), usual}, 0)
}

// usualFiles is a tree of count files of the same size. Only their metadata can be read.
type usualFiles struct {
	count int
	size  diskimage.Size
}

// Entries implements diskimage.Tree.
func (u usualFiles) Entries() iter.Seq2[diskimage.Entry, error] {
	open := func() (diskimage.Content, error) { return nil, errors.ErrUnsupported }
	return func(yield func(diskimage.Entry, error) bool) {
		if !yield(diskimage.Entry{Name: ".", Mode: unix.S_IFDIR | 0o755}, nil) {
			return
		}
		for i := range u.count {
			entry := diskimage.Entry{Name: fmt.Sprintf("%08d", i), Mode: unix.S_IFREG | 0o644, Size: int64(u.size), Open: open}
			if !yield(entry, nil) {
				return
			}
		}
	}
}
