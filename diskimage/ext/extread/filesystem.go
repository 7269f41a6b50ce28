// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// Features that only a reader needs (fs/ext4/ext4.h, EXT4_FEATURE_INCOMPAT_*).
const (
	incompatRecover  disk.Incompat = 0x0004 // the journal must be replayed
	incompatMetaBG   disk.Incompat = 0x0010 // group descriptors are spread over the groups
	incompatMMP      disk.Incompat = 0x0100 // a block protects against being mounted twice
	incompatEAInode  disk.Incompat = 0x0400 // large attribute values have separate inodes
	incompatLargeDir disk.Incompat = 0x4000 // three index levels
	incompatCaseFold disk.Incompat = 0x20000
	readableIncompat               = disk.IncompatFiletype | disk.IncompatExtents | disk.Incompat64Bit |
		disk.IncompatFlexBG |
		disk.IncompatCsumSeed | incompatMetaBG | incompatMMP | incompatEAInode | incompatLargeDir | incompatCaseFold
)

// Limits of plausible values.
const (
	maxLogBlockSize = 6       // 64 KiB
	maxBlocks       = 1 << 47 // blocks of 64 KiB are 2⁶³ bytes
	maxExtentBlocks = 1<<32 - 1
	minInodeSize    = 128
)

// errChecksum reports metadata that does not match its checksum.
var errChecksum = errors.New("the file system is damaged: checksum mismatch")

// ErrNoExt is returned for an image without an ext2, ext3 or ext4 file system.
var ErrNoExt = errors.New("no ext2, ext3 or ext4 file system")

// FileSystem is an open file system. Several goroutines may use it at once if they may use its
// io.ReaderAt.
type FileSystem struct {
	r         io.ReaderAt
	sb        disk.SuperBlock
	sums      disk.Checksums
	blockSize int64
	blocks    uint64
	descSize  int64
}

// New opens the file system at the start of r. The error wraps ErrNoExt if r holds something else.
func New(r io.ReaderAt) (*FileSystem, error) {
	raw := make([]byte, disk.SuperBlockSize)
	if _, err := r.ReadAt(raw, disk.SuperBlockOffset); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, ErrNoExt
		}
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	fs := &FileSystem{r: r}
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, &fs.sb); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	sb := &fs.sb
	if sb.Magic != disk.SuperMagic {
		return nil, ErrNoExt
	}
	if sb.Revision < disk.RevisionDynamic {
		if sb.FeatureIncompat != 0 || sb.FeatureROCompat != 0 {
			return nil, errors.New("the superblock is damaged: its revision cannot have features")
		}
		sb.InodeSize = minInodeSize
	}
	fs.sums = disk.Checksums{Features: sb.FeatureROCompat, UUID: sb.UUID, Seed: disk.SeedOf(sb.UUID)}
	if sb.FeatureIncompat&disk.IncompatCsumSeed != 0 {
		fs.sums.Seed = sb.ChecksumSeed
	}
	if fs.sums.Metadata() && (sb.ChecksumType != disk.ChecksumCRC32C || sb.Checksum != fs.sums.SuperBlock(raw)) {
		return nil, fmt.Errorf("superblock: %w", errChecksum)
	}
	switch unknown := sb.FeatureIncompat &^ readableIncompat; {
	case unknown&incompatRecover != 0:
		return nil, errors.New(
			"the file system was not shut down properly: boot the image and shut it down, then read it again")
	case unknown != 0:
		return nil, fmt.Errorf("the file system has features that are not supported (0x%x)", uint32(unknown))
	}
	if sb.LogBlockSize > maxLogBlockSize || sb.InodeSize < minInodeSize || sb.BlocksPerGroup == 0 ||
		sb.InodesPerGroup == 0 {
		return nil, errors.New("the superblock is damaged")
	}
	fs.blockSize = 1024 << sb.LogBlockSize
	if int64(sb.InodeSize) > fs.blockSize {
		return nil, errors.New("the superblock is damaged")
	}
	fs.blocks = uint64(sb.BlocksCountLo)
	fs.descSize = disk.DescSizeOld
	if sb.FeatureIncompat&disk.Incompat64Bit != 0 {
		fs.blocks |= uint64(sb.BlocksCountHi) << 32
		fs.descSize = max(int64(sb.DescSize), disk.DescSizeOld)
	}
	if fs.descSize > fs.blockSize || fs.blocks > maxBlocks {
		return nil, errors.New("the superblock is damaged")
	}
	return fs, nil
}

// Label returns the volume's name, which may be empty.
func (fs *FileSystem) Label() string {
	return strings.TrimRight(string(fs.sb.VolumeName[:]), "\x00")
}

// UUID returns the volume's UUID.
func (fs *FileSystem) UUID() uuid.UUID { return fs.sb.UUID }

// Type returns the type as blkid(8) names it: "ext2", "ext3" or "ext4".
func (fs *FileSystem) Type() string {
	const ext3ROCompat = disk.ROCompatSparseSuper | disk.ROCompatLargeFile | 0x0004 // ROCOMPAT_BTREE_DIR
	const ext3Incompat = disk.IncompatFiletype | incompatRecover | incompatMetaBG
	switch {
	case fs.sb.FeatureROCompat&^ext3ROCompat != 0 || fs.sb.FeatureIncompat&^ext3Incompat != 0:
		return "ext4"
	case fs.sb.FeatureCompat&disk.CompatHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// Size returns the length of the file system in bytes, and how many of them are free, those reserved
// for root included.
func (fs *FileSystem) Size() (size, free int64) {
	blocks := uint64(fs.sb.FreeBlocksCountLo)
	if fs.sb.FeatureIncompat&disk.Incompat64Bit != 0 {
		blocks |= uint64(fs.sb.FreeBlocksCountHi) << 32
	}
	return int64(fs.blocks) * fs.blockSize, int64(min(blocks, fs.blocks)) * fs.blockSize
}

// read fills p from an offset. The whole range must be inside of the file system.
func (fs *FileSystem) read(p []byte, offset int64) error {
	if offset < 0 || uint64(offset)+uint64(len(p)) > fs.blocks*uint64(fs.blockSize) {
		return fmt.Errorf("%d bytes at %d are outside of the file system", len(p), offset)
	}
	_, err := fs.r.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// block reads one block.
func (fs *FileSystem) block(number uint64) ([]byte, error) {
	if number >= fs.blocks {
		return nil, fmt.Errorf("block %d is outside of the file system", number)
	}
	p := make([]byte, fs.blockSize)
	return p, fs.read(p, int64(number)*fs.blockSize)
}

// descriptorAt returns the offset of a group's descriptor (ext4_group_desc, descriptor_loc).
func (fs *FileSystem) descriptorAt(group uint32) int64 {
	perBlock := uint32(fs.blockSize / fs.descSize)
	metaGroup := group / perBlock
	first := int64(fs.sb.FirstDataBlock) + 1
	if fs.sb.FeatureIncompat&incompatMetaBG == 0 || metaGroup < fs.sb.FirstMetaBG {
		return (first+int64(metaGroup))*fs.blockSize + int64(group%perBlock)*fs.descSize
	}
	firstGroup := metaGroup * perBlock
	block := int64(fs.sb.FirstDataBlock) + int64(firstGroup)*int64(fs.sb.BlocksPerGroup)
	if hasSuper(firstGroup, fs.sb.FeatureROCompat) {
		block++
	}
	return block*fs.blockSize + int64(group%perBlock)*fs.descSize
}

// hasSuper reports whether a group begins with a copy of the superblock (ext4_bg_has_super).
func hasSuper(group uint32, features disk.ROCompat) bool {
	if group <= 1 || features&disk.ROCompatSparseSuper == 0 {
		return true
	}
	for _, base := range []uint32{3, 5, 7} {
		n := group
		for n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}

// inode is an inode with its number and the attributes after it.
type inode struct {
	disk.Inode
	number uint32
	tail   []byte // after the fixed part
}

// inode reads an inode.
func (fs *FileSystem) inode(number uint32) (*inode, error) {
	if number == 0 || number > fs.sb.InodesCount {
		return nil, fmt.Errorf("inode %d does not exist", number)
	}
	group, index := (number-1)/fs.sb.InodesPerGroup, (number-1)%fs.sb.InodesPerGroup
	table, err := fs.inodeTable(group)
	if err != nil {
		return nil, err
	}
	data := make([]byte, max(int(fs.sb.InodeSize), disk.InodeUsed))
	if err := fs.read(data[:fs.sb.InodeSize], int64(table)*fs.blockSize+int64(index)*int64(fs.sb.InodeSize)); err != nil {
		return nil, fmt.Errorf("inode %d: %w", number, err)
	}
	n := &inode{number: number}
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, &n.Inode); err != nil {
		return nil, err
	}
	if err := fs.checkInode(n, data[:fs.sb.InodeSize]); err != nil {
		return nil, fmt.Errorf("inode %d: %w", number, err)
	}
	if fs.sb.InodeSize == minInodeSize {
		n.ExtraSize, n.ModifyExtra = 0, 0
		return n, nil
	}
	tail := disk.InodeOldSize + int(n.ExtraSize)
	if tail > int(fs.sb.InodeSize) || tail%4 != 0 {
		return nil, fmt.Errorf("inode %d: the inode is damaged", number)
	}
	n.tail = data[tail:fs.sb.InodeSize]
	return n, nil
}

// inodeTable returns the first block of a group's inodes.
func (fs *FileSystem) inodeTable(group uint32) (uint64, error) {
	raw := make([]byte, max(fs.descSize, disk.DescSize64Bit))
	if err := fs.read(raw[:fs.descSize], fs.descriptorAt(group)); err != nil {
		return 0, fmt.Errorf("descriptor of group %d: %w", group, err)
	}
	var desc disk.GroupDesc
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, &desc); err != nil {
		return 0, err
	}
	if fs.sums.Groups() && desc.Checksum != fs.sums.GroupDesc(group, raw[:fs.descSize]) {
		return 0, fmt.Errorf("descriptor of group %d: %w", group, errChecksum)
	}
	table := uint64(desc.InodeTableLo)
	if fs.descSize >= disk.DescSize64Bit {
		table |= uint64(desc.InodeTableHi) << 32
	}
	if table >= fs.blocks {
		return 0, fmt.Errorf("inode table of group %d is outside of the file system", group)
	}
	return table, nil
}

// checkInode verifies the checksum of an encoded inode, and what no driver writes.
func (fs *FileSystem) checkInode(n *inode, raw []byte) error {
	if fs.sums.Metadata() {
		got, want := uint32(n.ChecksumLo), fs.sums.Inode(n.number, n.Generation, raw)
		if disk.HasChecksumHi(raw) {
			got |= uint32(n.ChecksumHi) << 16
		} else {
			want &= 0xFFFF
		}
		if got != want {
			return errChecksum
		}
	}
	if size := n.size(); size < 0 || size/fs.blockSize > fs.maxFileBlocks(n) {
		return fmt.Errorf("invalid file size %d", size)
	}
	if n.Links == 0 {
		return errors.New("the inode is in use and has no name")
	}
	return nil
}

// maxFileBlocks returns the number of blocks that the map of an inode can hold (ext4_max_size, ext4_max_bitmap_size).
func (fs *FileSystem) maxFileBlocks(n *inode) int64 {
	if n.Flags&disk.InodeExtents != 0 {
		return maxExtentBlocks
	}
	per := fs.blockSize / 4
	return min(disk.DirectBlocks+per+per*per+per*per*per, maxExtentBlocks)
}

// size returns the length of the file in bytes.
func (n *inode) size() int64 { return int64(n.SizeHi)<<32 | int64(n.SizeLo) }
