// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"math/bits"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// allocator hands out places in the file, from its beginning to its end, and counts references. The header has the
// first cluster.
type allocator struct {
	clusterSize int64
	end         int64 // of what is used
	// gap and gapEnd are what is free in a cluster with compressed data that was left for an uncompressed one.
	gap, gapEnd int64
	// refcounts has an element for each cluster of the file up to end. 16 bits are enough: the most references has
	// a cluster of 2 MiB full of zstd frames, each of at least 16 blocks of 4 bytes.
	refcounts []uint16
}

func newAllocator(clusterSize int64) allocator {
	return allocator{clusterSize: clusterSize, end: clusterSize, refcounts: []uint16{1}}
}

// clusters takes whole clusters and returns the offset of the first.
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

// bytes takes room for compressed data, which may lie anywhere, and returns its offset. Each cluster that it touches is
// referenced once more.
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

// clusterBits is the binary logarithm of the size of a cluster.
func clusterBits(clusterSize int64) int { return bits.TrailingZeros64(uint64(clusterSize)) }
