package builder

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
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
	root := d.Root()
	least, err := filesystem.MinimumSize(root.Filesystem, tree, loaderRoom)
	if err != nil {
		return Disk{}, fmt.Errorf("measure %s: %w", root, err)
	}
	size, err := filesystem.MinimumSize(root.Filesystem, tree, loaderRoom+d.Free.beside(least))
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
