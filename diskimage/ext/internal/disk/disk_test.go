// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
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
	})
}

func TestFieldsAreWhereTheKernelLooks(t *testing.T) {
	t.Parallel()
	fstest.TestFieldOffsets(t, fstest.FieldOffsets{
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
	})
}

func TestPutMethodsWriteWhatTheGeneralPutWrites(t *testing.T) {
	t.Parallel()
	fstest.TestPutMethods(t, &Inode{}, &ExtentHeader{}, &Extent{}, &DirHeader{})
}
