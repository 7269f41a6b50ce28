// SPDX-License-Identifier: Apache-2.0

package disk

// Compat are features that a driver may ignore for reading and writing (s_feature_compat). e2fsck
// rejects unknown ones nevertheless.
type Compat uint32

// Features a driver may ignore.
const (
	CompatHasJournal  Compat = 0x0004 // inode 8 is a journal
	CompatExtAttr     Compat = 0x0008 // extended attributes
	CompatResizeInode Compat = 0x0010 // inode 7 keeps blocks for a growing descriptor table
	CompatDirIndex    Compat = 0x0020 // hashed directories
	CompatOrphanFile  Compat = 0x1000 // a file records inodes being deleted, instead of a list through the inodes
)

// Incompat are features without which a driver must not touch the file system (s_feature_incompat).
type Incompat uint32

// Features a driver must know.
const (
	IncompatFiletype Incompat = 0x0002 // directory entries hold the file type
	IncompatExtents  Incompat = 0x0040 // files are mapped by extents
	Incompat64Bit    Incompat = 0x0080 // 64-byte group descriptors
	IncompatFlexBG   Incompat = 0x0200 // bitmaps and inode tables may be outside of their group
	IncompatCsumSeed Incompat = 0x2000 // checksums start from s_checksum_seed, so that the UUID may change
)

// ROCompat are features without which a driver may only read (s_feature_ro_compat).
type ROCompat uint32

// Features a driver must know for writing.
const (
	ROCompatSparseSuper  ROCompat = 0x0001 // superblock copies only in groups 1 and powers of 3, 5, 7
	ROCompatLargeFile    ROCompat = 0x0002 // files of 2 GiB and more
	ROCompatHugeFile     ROCompat = 0x0008 // files of 2 TiB and more
	ROCompatGDTCsum      ROCompat = 0x0010 // group descriptors have a CRC-16, groups may be uninitialised (uninit_bg)
	ROCompatDirNlink     ROCompat = 0x0020 // more than 65,000 subdirectories: the link count is then 1
	ROCompatExtraIsize   ROCompat = 0x0040 // inodes have the fields beyond byte 128
	ROCompatMetadataCsum ROCompat = 0x0400 // everything except data has a CRC-32C; replaces ROCompatGDTCsum
)
