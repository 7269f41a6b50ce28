// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
		{SuperBlock{}, SuperBlockSize},
		{Checkpoint{}, CheckpointSize},
		{NATEntry{}, NATEntrySize},
		{SITEntry{}, SITEntrySize},
		{Summary{}, SummarySize},
		{Inode{}, InodeSize},
		{Footer{}, FooterSize},
		{DirEntry{}, DirEntrySize},
		{XattrHeader{}, XattrHeaderSize},
		{XattrEntry{}, XattrEntrySize},
	})
	if got, want := InodeNodesOffset+5*AddrSize, FooterOffset; got != want {
		t.Errorf("an inode ends at %d, want %d", got, want)
	}
	if got, want := InlineOffset+InlineDataSize, InlineXattrOffset; got != want {
		t.Errorf("inline data ends at %d, want %d", got, want)
	}
}

func TestFieldsAreWhereTheKernelLooks(t *testing.T) {
	t.Parallel()
	fstest.TestFieldOffsets(t, fstest.FieldOffsets{
		{SuperBlock{}, "BlockCount", 0x24},
		{SuperBlock{}, "MainAddr", 0x5C},
		{SuperBlock{}, "UUID", 0x6C},
		{SuperBlock{}, "VolumeName", 0x7C},
		{SuperBlock{}, "CPPayload", 0x680},
		{SuperBlock{}, "Feature", 0x884},
		{SuperBlock{}, "QuotaInodes", 0xAB9},
		{SuperBlock{}, "Checksum", 0xBFC},
		{Checkpoint{}, "CurDataSegment", 0x54},
		{Checkpoint{}, "Flags", 0x84},
		{Checkpoint{}, "ElapsedTime", 0xA8},
		{Inode{}, "Size", 0x10},
		{Inode{}, "ModifyTime", 0x30},
		{Inode{}, "XattrNode", 0x4C},
		{Inode{}, "DirLevel", 0x15B},
		{Footer{}, "CheckpointVersion", 0xC},
	})
}

func TestPutMethodsWriteWhatTheGeneralPutWrites(t *testing.T) {
	t.Parallel()
	fstest.TestPutMethods(t, &Inode{}, &NATEntry{}, &Summary{})
	footer := Footer{1, 2, 3, 4, 5}
	got, want := make([]byte, BlockSize), make([]byte, BlockSize)
	footer.Put(got)
	Put(want[FooterOffset:], footer)
	if !bytes.Equal(got, want) {
		t.Error("Footer.Put differs from Put")
	}
}

// The offsets are those of struct f2fs_dentry_block, and of inline_dentry.
func TestEntriesOfDirectories(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ size, entries, names int }{
		{BlockSize, 27 + 3, 27 + 3 + 214*11}, {InlineDataSize, 23 + 7, 23 + 7 + 182*11},
	} {
		area := make([]byte, tt.size)
		e := NewEntries(area)
		e.Add(DirEntry{Inode: 5}, "nine char")
		e.Add(DirEntry{Hash: 1, Inode: 2, NameLength: 3, Type: 4}, "abc")
		if area[0] != 7 {
			t.Errorf("bitmap %b, want 111", area[0])
		}
		want := []byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 4}
		if got := area[tt.entries+2*DirEntrySize:][:DirEntrySize]; !bytes.Equal(got, want) {
			t.Errorf("entry % x, want % x", got, want)
		}
		if got := string(area[tt.names:][:19]); got != "nine char\x00\x00\x00\x00\x00\x00\x00abc" {
			t.Errorf("names %q", got)
		}
	}
}
