// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"errors"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// MinimumSize gives a size, in whole MiB, for which Plan finds room for the tree and which leaves an ordinary user at
// least free bytes to write; what is reserved for root comes on top. It is at most about 1 MiB more than the smallest
// such size. File systems of a type that has a journal get no smaller than one can be, which is 8 MiB.
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
		// Metadata grows with the size, by less than a tenth; so each round misses less than a tenth of the last.
		size += missing
	}
}

// dataSize is the room for the data of all files.
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

// missingBytes says by how much a size is too small, at least; 0 if it is enough.
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
