// SPDX-License-Identifier: Apache-2.0

package vhdx

import (
	"encoding/binary"
	"testing"
)

func TestStructuresHaveTheSizesOfTheSpecification(t *testing.T) {
	t.Parallel()
	const headerSize, metadataTableSize = 4 << 10, 32 + 5*32
	for _, test := range []struct {
		structure any
		want      int
	}{
		{fileIdentifier{}, 8 + 512},
		{header{}, headerSize},
		{regionTable{}, regionTableSize},
		{metadataTable{}, metadataTableSize},
		{metadataItems{}, 40},
	} {
		if got := binary.Size(test.structure); got != test.want {
			t.Errorf("%T: got %d bytes, want %d", test.structure, got, test.want)
		}
	}
}

// A disk of exactly one chunk has no entry for a bitmap; with one more block it has one.
func TestTableHasAnEntryForTheBitmapBetweenChunks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ blocks, want int64 }{
		{1, 1}, {chunkRatio, chunkRatio}, {chunkRatio + 1, chunkRatio + 2}, {2*chunkRatio + 1, 2*chunkRatio + 3},
	} {
		table := newTable(test.blocks)
		if got := int64(len(table)); got != test.want {
			t.Errorf("%d blocks: got %d entries, want %d", test.blocks, got, test.want)
		}
		if test.blocks > chunkRatio && table[chunkRatio] != 0 {
			t.Errorf("%d blocks: the bitmap's entry is %d, want 0", test.blocks, table[chunkRatio])
		}
	}
}
