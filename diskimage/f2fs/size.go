// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"errors"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// MinimumSize returns a size, in whole MiB, for which Plan finds room for the tree and which leaves
// room for another file of free bytes. It is at most 4 MiB more than the smallest such size.
func MinimumSize(fs diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error) {
	p, err := newParameters(fs)
	if err != nil {
		return 0, err
	}
	inv, err := newInventory(tree)
	if err != nil {
		return 0, err
	}
	size := diskimage.Size(inv.blockCount())*disk.BlockSize + free
	for {
		size = (max(size, 1) + diskimage.MiB - 1) / diskimage.MiB * diskimage.MiB
		missing, err := missingBytes(p, inv, size, free)
		if err != nil || missing == 0 {
			return size, err
		}
		// The usable part grows by less than that, because some of it is reserved.
		size += missing
	}
}

// missingBytes returns a lower bound of the number of missing bytes, 0 if the size is sufficient.
func missingBytes(p parameters, inv *inventory, size, free diskimage.Size) (diskimage.Size, error) {
	g, err := newGeometry(p, size)
	if err == nil {
		_, err = newVolume(p, g, inv)
	}
	if err == nil {
		wanted := inode.Blocks(uint64(free))
		if wanted > 0 {
			wanted += 2 + wanted/disk.NodeAddrs // nodes of the file
		}
		left := g.userBlocks() - inv.blockCount()
		return diskimage.Size(wanted-min(wanted, left)) * disk.BlockSize, nil
	}
	var noSpace *diskimage.NoSpaceError
	// The NAT has room for one node per block, up to its maximum size.
	if !errors.As(err, &noSpace) || noSpace.BlockSize == 0 {
		return 0, err
	}
	return diskimage.Size(noSpace.Needed-noSpace.Available) * disk.BlockSize, nil
}
