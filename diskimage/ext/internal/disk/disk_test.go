// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	tests := []struct {
		structure any
		want      int
	}{
		{SuperBlock{}, SuperBlockSize},
		{GroupDesc{}, DescSize64Bit},
		{Inode{}, InodeUsed},
		{ExtentHeader{}, ExtentEntrySize},
		{Extent{}, ExtentEntrySize},
		{ExtentIndex{}, ExtentEntrySize},
		{DirHeader{}, DirHeaderSize},
		{DxRootInfo{}, DxRootInfoSize},
		{DxCount{}, 4},
		{DxEntry{}, DxEntrySize},
		{XattrHeader{}, XattrHeaderSize},
		{XattrEntry{}, XattrEntrySize},
		{JournalSuperBlock{}, 0x44},
		{OrphanTail{}, 8},
	}
	for _, tt := range tests {
		if got := binary.Size(tt.structure); got != tt.want {
			t.Errorf("%T: %d bytes, want %d", tt.structure, got, tt.want)
		}
	}
}

func TestFieldsAreWhereTheKernelLooks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		structure any
		field     string
		want      int
	}{
		{SuperBlock{}, "Magic", 0x38},
		{SuperBlock{}, "FeatureCompat", 0x5C},
		{SuperBlock{}, "ReservedGDTBlocks", 0xCE},
		{SuperBlock{}, "DescSize", 0xFE},
		{SuperBlock{}, "JournalBlocks", 0x10C},
		{SuperBlock{}, "BlocksCountHi", 0x150},
		{SuperBlock{}, "LogGroupsPerFlex", 0x174},
		{SuperBlock{}, "KBytesWritten", 0x178},
		{SuperBlock{}, "OverheadClusters", 0x248},
		{SuperBlock{}, "ChecksumSeed", 0x270},
		{SuperBlock{}, "OrphanFileInode", 0x280},
		{SuperBlock{}, "Checksum", SuperBlockChecksummed},
		{GroupDesc{}, "Checksum", GroupDescChecksumOffset},
		{GroupDesc{}, "BlockBitmapHi", DescSizeOld},
		{Inode{}, "Block", 0x28},
		{Inode{}, "ChecksumLo", InodeChecksumLoOffset},
		{Inode{}, "ChecksumHi", InodeChecksumHiOffset},
		{Inode{}, "ExtraSize", InodeOldSize},
		{Inode{}, "CreateTime", 0x90},
		{XattrHeader{}, "Checksum", XattrChecksumOffset},
	}
	for _, tt := range tests {
		typ := reflect.TypeOf(tt.structure)
		offset := 0
		found := false
		for field := range typ.Fields() {
			if found = field.Name == tt.field; found {
				break
			}
			offset += binary.Size(reflect.Zero(field.Type).Interface())
		}
		if !found || offset != tt.want {
			t.Errorf("%T.%s is at %#x, want %#x", tt.structure, tt.field, offset, tt.want)
		}
	}
}

func TestPutMethodsWriteWhatTheGeneralPutWrites(t *testing.T) {
	t.Parallel()
	for _, structure := range []interface{ Put([]byte) }{&Inode{}, &ExtentHeader{}, &Extent{}, &DirHeader{}} {
		value := reflect.ValueOf(structure).Elem()
		size := binary.Size(value.Interface())
		numbers := make([]byte, size) // no two bytes are equal, so that no two fields can be mistaken
		for i := range numbers {
			numbers[i] = byte(i + 1)
		}
		if _, err := binary.Decode(numbers, binary.LittleEndian, structure); err != nil {
			t.Fatal(err)
		}
		got, want := make([]byte, size), make([]byte, size)
		structure.Put(got)
		Put(want, value.Interface())
		if !bytes.Equal(got, want) {
			t.Errorf("%T: got\n% x, want\n% x", structure, got, want)
		}
	}
}
