// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"iter"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
)

// writeSummaries writes the SSA, which records what points to each block: one block for each
// segment in use. It returns the summaries of the last segment of each log, which are also part of
// the checkpoint.
func (v *volume) writeSummaries(w *blocks.Writer) (last [disk.Logs][]byte) {
	for _, log := range placement {
		var block []byte
		next := func(segment uint64) {
			block = w.Block(uint64(v.ssaAddr+v.starts[log]) + segment)
			block[disk.SummaryFooter] = disk.SummaryTypeData
			if log.IsNode() {
				block[disk.SummaryFooter] = disk.SummaryTypeNode
			}
		}
		var count uint64
		for s := range v.summaries(log) {
			if count%disk.BlocksPerSegment == 0 {
				next(count / disk.BlocksPerSegment)
			}
			s.Put(block[count%disk.BlocksPerSegment*disk.SummarySize:])
			count++
		}
		if count%disk.BlocksPerSegment == 0 {
			next(count / disk.BlocksPerSegment)
		}
		last[log] = slices.Clone(block)
	}
	return last
}

// summaries yields the summaries of the blocks of a log.
func (v *volume) summaries(log disk.Log) iter.Seq[disk.Summary] {
	return func(yield func(disk.Summary) bool) {
		for _, n := range v.nodes {
			for s := range n.summaries(log) {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// summaries yields the summaries of the blocks of a node that are in a log.
func (n *node) summaries(log disk.Log) iter.Seq[disk.Summary] {
	return func(yield func(disk.Summary) bool) {
		if n.nodeLog() == log && !yield(disk.Summary{Node: n.number}) {
			return
		}
		for _, e := range n.extras {
			if n.extraLog(e) == log && !yield(disk.Summary{Node: e.number}) {
				return
			}
		}
		if n.dataLog() != log {
			return
		}
		number, first, end := n.number, uint64(0), uint64(disk.UsedInodeAddrs)
		extras := n.extras
		for _, s := range n.spans {
			for at := s.Start; at < s.End; at++ {
				for at >= end { // find the direct node with the pointer
					if e := extras[0]; e.kind == directNode {
						number, first, end = e.number, e.first, e.first+disk.NodeAddrs
					}
					extras = extras[1:]
				}
				if !yield(disk.Summary{Node: number, Offset: uint16(at - first)}) {
					return
				}
			}
		}
	}
}
