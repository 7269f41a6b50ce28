package builder

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// autoSize is the size of a disk of --size=auto until its content has been measured. It is larger than any content, so
// that whatever would not fit then does not fit now.
const autoSize = 1 * diskimage.TiB

// loaderRoom is for the files that a boot loader adds to the root file system when the layout is final: ldlinux.sys and
// ldlinux.c32 have 180 KiB together.
const loaderRoom = 1 * diskimage.MiB

// Space is room for what comes later: a number of bytes, or a percentage of what is there already.
type Space struct {
	Bytes   diskimage.Size
	Percent uint64 // counts if Bytes is 0
}

// maxPercent keeps a slip of the finger (--free=25000%) from making an image of terabytes.
const maxPercent = 10_000

// ParseSpace reads a size as diskimage.ParseSize does, or a whole number and a percent sign.
func ParseSpace(text string) (Space, error) {
	number, isPercent := strings.CutSuffix(strings.TrimSpace(text), "%")
	if !isPercent {
		size, err := diskimage.ParseSize(text)
		return Space{Bytes: size}, err
	}
	percent, err := strconv.ParseUint(number, 10, 64)
	if err != nil || percent > maxPercent {
		return Space{}, fmt.Errorf("%q is neither a size nor a percentage from 0%% to %d%%", text, maxPercent)
	}
	return Space{Percent: percent}, nil
}

// String is what ParseSpace reads.
func (s Space) String() string {
	if s.Bytes > 0 {
		return s.Bytes.String()
	}
	return strconv.FormatUint(s.Percent, 10) + "%"
}

// beside gives the space in bytes beside what takes used bytes.
func (s Space) beside(used diskimage.Size) diskimage.Size {
	if s.Bytes > 0 {
		return s.Bytes
	}
	return used / 100 * diskimage.Size(s.Percent)
}

// fit gives the disk of --size=auto its size: that of the table, of the partitions that were asked for, and of a root
// file system with the tree and the free space. Other disks stay as they are.
func (d Disk) fit(tree diskimage.Tree) (Disk, error) {
	if !d.Auto {
		return d, nil
	}
	root := d.root()
	least, err := minimumSize(root.Filesystem, tree, loaderRoom)
	if err != nil {
		return Disk{}, fmt.Errorf("measure %s: %w", root, err)
	}
	size, err := minimumSize(root.Filesystem, tree, loaderRoom+d.Free.beside(least))
	if err != nil {
		return Disk{}, fmt.Errorf("measure %s: %w", root, err)
	}
	return d.resized(size)
}

// resized gives the root partition of a disk of --size=auto its size, and the disk what follows from it.
func (d Disk) resized(root diskimage.Size) (resized Disk, err error) {
	d.Request.Size, d.Auto = d.Request.DiskSize(root), false
	d.Layout, err = diskimage.NewLayout(d.Request)
	return d, err
}

// minimumSize is the size of a file system that holds the tree and lets an ordinary user write free bytes.
func minimumSize(f diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error) {
	if own := ownFilesystems[f.Type]; own.MinimumSize != nil {
		return own.MinimumSize(f, tree, free)
	}
	e, ok := estimates[f.Type]
	if !ok {
		return 0, fmt.Errorf("--size=auto is not possible with a root file system of type %s", f.Type)
	}
	return e.size(tree, free)
}

// sizeEstimate says what a file system takes beside the data of its files. The figures are generous: what is too much is
// free space, what is too little fails the build at its end.
type sizeEstimate struct {
	entry   diskimage.Size // for each file or directory: inode, names, index
	percent diskimage.Size // of everything, for what grows with the file system
	fixed   diskimage.Size // log, reserved segments, first chunks
	least   diskimage.Size // what the file system's own mkfs asks for
	asks    sizeAsked      // what it asks for by what there is to copy, however little it will use
}

// sizeAsked is how a mkfs program reckons before it copies a directory.
type sizeAsked struct {
	entry   diskimage.Size // for each file or directory
	percent diskimage.Size // of the data
	fixed   diskimage.Size
}

// estimateBlock is the unit that files take, in all of the file systems of estimates.
const estimateBlock = 4 * diskimage.KiB

// estimates are for file systems that a program plans, not we.
var estimates = map[string]sizeEstimate{
	// Metadata is there twice, in leaves of 16 KiB that are two thirds full; data is allocated in chunks of a tenth of
	// the disk. mkfs.btrfs asks for 109 to 126 MiB, and for a directory (mkfs/rootdir.c, btrfs_mkfs_size_dir) for three
	// names of the longest kind and a sector for each file, and an eighth of the data, all that twice, in chunks.
	"btrfs": {
		entry: 3 * diskimage.KiB, percent: 12, fixed: 160 * diskimage.MiB, least: 256 * diskimage.MiB,
		asks: sizeAsked{entry: 32 * diskimage.KiB, percent: 125, fixed: 256 * diskimage.MiB},
	},
	// An inode of 512 bytes and its names; free space and reverse maps; a log of 64 MiB. mkfs.xfs asks for 300 MiB.
	"xfs": {entry: 1 * diskimage.KiB, percent: 6, fixed: 80 * diskimage.MiB, least: 300 * diskimage.MiB},
}

// size adds up what the tree and the free space need.
func (e sizeEstimate) size(tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error) {
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
	asked := entries*e.asks.entry + data/100*e.asks.percent + e.asks.fixed
	return max(needed+needed/100*e.percent+e.fixed, asked, e.least), nil
}
