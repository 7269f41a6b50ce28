// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"errors"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// MinimumSize returns a size, in whole MiB, for which Plan finds room for the tree and which leaves
// an ordinary user at least free bytes to write, in addition to the blocks reserved for root. It is
// at most about 1 MiB more than the smallest such size, and at least 8 MiB for types with a
// journal.
func MinimumSize(fs diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error) {
	p, err := newParameters(fs)
	if err != nil {
		return 0, err
	}
	inv, err := newInventory(p, tree)
	if err != nil {
		return 0, err
	}
	size := inv.dataSize() + free
	if p.journal() {
		size = max(size, minJournaledBlocks*disk.BlockSize)
	}
	for {
		size = (max(size, 1) + diskimage.MiB - 1) / diskimage.MiB * diskimage.MiB
		missing, err := missingBytes(p, inv, size, free)
		if err != nil || missing == 0 {
			return size, err
		}
		// Metadata grows by less than a tenth of the size, so each round misses less than a tenth
		// of the previous one.
		size += missing
	}
}

// dataSize returns the size of the blocks of all files and directories.
func (inv *inventory) dataSize() diskimage.Size {
	var blocks uint64
	for _, n := range inv.nodes {
		if n == nil {
			continue
		}
		blocks += inode.CountBlocks(n.spans())
	}
	return diskimage.Size(blocks) * disk.BlockSize
}

// missingBytes returns a lower bound of the number of missing bytes, 0 if the size is sufficient.
func missingBytes(p parameters, inv *inventory, size, free diskimage.Size) (diskimage.Size, error) {
	g, err := newGeometry(p.features, size)
	if err == nil {
		var v *volume
		if v, err = newVolume(p, g, inv); err == nil {
			wanted := v.reservedBlocks + inode.Blocks(uint64(free))
			return diskimage.Size(wanted-min(wanted, v.freeBlocks)) * disk.BlockSize, nil
		}
	}
	var noSpace *diskimage.NoSpaceError
	if !errors.As(err, &noSpace) {
		return 0, err
	}
	unit := diskimage.Size(noSpace.BlockSize)
	if unit == 0 {
		unit = inodeRatio
	}
	return diskimage.Size(noSpace.Needed-noSpace.Available) * unit, nil
}
