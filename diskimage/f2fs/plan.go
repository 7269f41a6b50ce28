// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// Type is the name of the file system in diskimage.Filesystem.
const Type = "f2fs"

// Formatter plans f2fs file systems. Its zero value is ready for use.
type Formatter struct{}

var _ diskimage.Formatter = Formatter{}

// Plan lays out the file system. Its errors are *diskimage.NoSpaceError, and those that name an
// entry of the tree that the format cannot hold.
func (Formatter) Plan(size diskimage.Size, fs diskimage.Filesystem, tree diskimage.Tree) (diskimage.Volume, error) {
	p, err := newParameters(fs)
	if err != nil {
		return nil, err
	}
	g, err := newGeometry(p, size)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", Type, size, err)
	}
	inv, err := newInventory(tree)
	if err != nil {
		return nil, err
	}
	v, err := newVolume(p, g, inv)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", Type, size, err)
	}
	return v, nil
}

// volume is a planned file system.
type volume struct {
	parameters
	geometry
	*inventory
	starts [disk.Logs]uint32 // first segment of each log
	used   uint32            // segments of the main area that belong to logs
}

// placement is the order of the logs in the main area: first what is read at boot and by every
// search, and the data of files before free space. The kernel continues the logs in other free
// segments.
var placement = [disk.Logs]disk.Log{disk.HotNode, disk.WarmNode, disk.ColdNode, disk.HotData, disk.ColdData,
	disk.WarmData}

// newVolume allocates all blocks.
func newVolume(p parameters, g geometry, inv *inventory) (*volume, error) {
	v := &volume{parameters: p, geometry: g, inventory: inv}
	var needed uint64
	for _, log := range placement {
		v.starts[log] = uint32(min(needed, uint64(g.mainSegments)))
		needed += inv.logSegments(log)
	}
	if available := uint64(g.mainSegments - g.overprov); needed > available {
		return nil, noBlocks(needed*disk.BlocksPerSegment, available*disk.BlocksPerSegment)
	}
	if inv.last >= g.maxNodes() {
		return nil, &diskimage.NoSpaceError{What: "nodes", Needed: uint64(inv.last) + 1,
			Available: uint64(g.maxNodes())}
	}
	v.used = uint32(needed)
	var next [disk.Logs]uint32
	for log := range disk.Logs {
		next[log] = v.logAddr(log)
	}
	take := func(log disk.Log, blocks uint64) uint32 {
		addr := next[log]
		next[log] += uint32(blocks)
		return addr
	}
	for _, n := range inv.nodes {
		n.addr = take(n.nodeLog(), 1)
		for i := range n.extras {
			n.extras[i].addr = take(n.extraLog(n.extras[i]), 1)
		}
		n.first = take(n.dataLog(), inode.CountBlocks(n.spans))
	}
	return v, nil
}

// logSegments returns the number of segments of a log: the full ones, and one in which it
// continues.
func (inv *inventory) logSegments(log disk.Log) uint64 {
	return inv.counts[log]/disk.BlocksPerSegment + 1
}

// logAddr returns the address of the first block of a log.
func (v *volume) logAddr(log disk.Log) uint32 {
	return v.mainAddr + v.starts[log]*disk.BlocksPerSegment
}

// nodeCount and blockCount return the number of nodes and blocks in use.
func (inv *inventory) nodeCount() uint64 {
	return inv.counts[disk.HotNode] + inv.counts[disk.WarmNode] + inv.counts[disk.ColdNode]
}

func (inv *inventory) blockCount() uint64 {
	return inv.nodeCount() + inv.counts[disk.HotData] + inv.counts[disk.WarmData]
}

// Extents implements diskimage.Volume.
func (v *volume) Extents(name string) ([]diskimage.Extent, error) {
	n := v.byName[name]
	if n == nil || n.Type() != unix.S_IFREG {
		return nil, inode.NotFound(name)
	}
	if n.inline&disk.DataExist != 0 {
		return []diskimage.Extent{{Offset: int64(n.addr)*disk.BlockSize + disk.InlineOffset, Length: n.Size}}, nil
	}
	spans := n.spans
	if len(spans) == 0 {
		return nil, nil
	}
	// All blocks are contiguous, and only the last one of the file may be partly used.
	length := int64(inode.CountBlocks(spans)) * disk.BlockSize
	length -= max(0, int64(spans[len(spans)-1].End)*disk.BlockSize-n.Size)
	return []diskimage.Extent{{Offset: int64(n.first) * disk.BlockSize, Length: length}}, nil
}
