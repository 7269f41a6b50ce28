// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"math/bits"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// allocator allocates the file from its start to its end, and counts references. The header
// occupies the first cluster.
type allocator struct {
	clusterSize int64
	end         int64 // of the allocated part
	// gap and gapEnd delimit the free part of a cluster with compressed data after which an
	// uncompressed one was allocated.
	gap, gapEnd int64
	// refcounts has an element for each cluster of the file up to end. 16 bits are sufficient: the
	// maximum is that of a cluster of 2 MiB full of zstd frames, each of at least 16 blocks of 4
	// bytes.
	refcounts []uint16
}

func newAllocator(clusterSize int64) allocator {
	return allocator{clusterSize: clusterSize, end: clusterSize, refcounts: []uint16{1}}
}

// clusters allocates whole clusters and returns the offset of the first.
func (a *allocator) clusters(count int64) int64 {
	start := rawimage.RoundUp(a.end, a.clusterSize)
	if start-a.end > a.gapEnd-a.gap {
		a.gap, a.gapEnd = a.end, start
	}
	a.end = start + count*a.clusterSize
	for range count {
		a.refcounts = append(a.refcounts, 1)
	}
	return start
}

// bytes allocates room for compressed data, at any offset, and returns that. It adds a reference to
// each cluster in the range.
func (a *allocator) bytes(length int64) int64 {
	var start int64
	if length <= a.gapEnd-a.gap {
		start = a.gap
		a.gap += length
	} else {
		start = a.end
		a.end += length
	}
	last := (start + length - 1) / a.clusterSize
	for cluster := start / a.clusterSize; cluster <= last; cluster++ {
		if cluster == int64(len(a.refcounts)) {
			a.refcounts = append(a.refcounts, 0)
		}
		a.refcounts[cluster]++
	}
	return start
}

// clusterBits returns the binary logarithm of the cluster size.
func clusterBits(clusterSize int64) int { return bits.TrailingZeros64(uint64(clusterSize)) }
