// SPDX-License-Identifier: Apache-2.0

package inode

import "github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"

// Span is a range of blocks of a file, without End. The spans of a file ascend and do not touch.
type Span struct {
	Start, End uint64
	Before     uint64 // number of blocks in earlier spans
}

// AddSpan appends the blocks from start to end, which begin no earlier than the last span, and merges
// spans that touch.
func AddSpan(spans []Span, start, end uint64) []Span {
	if start == end {
		return spans
	}
	if last := len(spans) - 1; last >= 0 && start <= spans[last].End {
		spans[last].End = max(end, spans[last].End)
		return spans
	}
	return append(spans, Span{start, end, CountBlocks(spans)})
}

// CountBlocks returns the number of blocks in spans.
func CountBlocks(spans []Span) uint64 {
	if len(spans) == 0 {
		return 0
	}
	last := spans[len(spans)-1]
	return last.Before + last.End - last.Start
}

// Blocks returns the number of blocks that hold this number of bytes.
func Blocks(bytes uint64) uint64 { return (bytes + blocks.Size - 1) / blocks.Size }

// Spans returns the blocks of a regular file that are not holes.
func (i *Inode) Spans() []Span {
	if i.Data == nil || i.Dense {
		return AddSpan(nil, 0, Blocks(uint64(i.Size)))
	}
	var spans []Span
	for _, part := range i.Data {
		if part.Length > 0 {
			spans = AddSpan(spans, uint64(part.Offset)/blocks.Size, Blocks(uint64(part.Offset+part.Length)))
		}
	}
	return spans
}
