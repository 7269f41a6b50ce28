// SPDX-License-Identifier: Apache-2.0

// Package f2fsread reads f2fs file systems from an image file, without mounting anything.
//
//	fs, err := f2fsread.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system. It has owners, modes,
// times, hard links, device nodes, extended attributes with access control lists, and holes.
//
// It reads what package f2fs, mkfs.f2fs(8), sload.f2fs(8) and Linux write, with the features extra_attr,
// flexible_inline_xattr, inode_checksum, inode_crtime, quota, lost_found, verity and sb_checksum. The checkpoint has a
// checksum, which is verified; each node must be the one that the table of nodes says. Every other number is checked
// before it is used. Not supported, and rejected: blocks of other sizes than 4096 bytes, several and zoned devices,
// encrypted and compressed files, and a file system that was not unmounted.
//
// Sources: as in package f2fs.
package f2fsread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// ErrNoF2FS is returned for an image without an f2fs.
var ErrNoF2FS = errors.New("no f2fs file system")

// Features (include/linux/f2fs_fs.h, F2FS_FEATURE_*).
const (
	featureZoned         = 0x0002
	featureFlexibleXattr = 0x0040
)

// Flags of the checkpoint (CP_*_FLAG), and where things are in it.
const (
	compactSummaries = 0x0004
	largeNATBitmap   = 0x0400
	summaryJournal   = disk.SummarySize * disk.BlocksPerSegment // of a block of summaries
	// summariesAtEnd are blocks of a pack: the summaries of six logs, and the last block.
	summariesAtEnd = 7
)

// FileSystem is an open file system. Several goroutines may use it at once if they may use its io.ReaderAt.
type FileSystem struct {
	r      io.ReaderAt
	sb     disk.SuperBlock
	cp     disk.Checkpoint
	bitmap []byte // says which of two copies of a block of the table of nodes is in use
	// journal are entries of the table that are newer than it.
	journal map[uint32]disk.NATEntry
}

// New opens the file system at the start of r. The error wraps ErrNoF2FS if r holds something else.
func New(r io.ReaderAt) (*FileSystem, error) {
	fs := &FileSystem{r: r}
	found := false
	for i := range int64(disk.SuperBlocks) {
		raw := make([]byte, disk.SuperBlockSize)
		if _, err := r.ReadAt(raw, i*disk.BlockSize+disk.SuperBlockOffset); errors.Is(err, io.EOF) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("read superblock: %w", err)
		}
		if disk.Get(raw, &fs.sb); fs.sb.Magic == disk.Magic {
			found = true
			break
		}
	}
	if !found {
		return nil, ErrNoF2FS
	}
	sb := &fs.sb
	switch {
	case sb.LogBlockSize != disk.LogBlockSize || sb.LogBlocksPerSeg != disk.LogBlocksPerSeg:
		return nil, fmt.Errorf("f2fs with blocks of 2^%d bytes is not supported", sb.LogBlockSize)
	case sb.Feature&featureZoned != 0 || sb.Devices[0][0] != 0:
		return nil, errors.New("f2fs on several or zoned devices is not supported")
	case sb.SegmentCountMain > disk.MostSegments || uint64(sb.MainAddr)+fs.mainBlocks() > sb.BlockCount ||
		sb.BlockCount > disk.MostSegments*disk.BlocksPerSegment:
		return nil, fsread.Damaged("the superblock of an f2fs of %d blocks", sb.BlockCount)
	}
	if err := fs.readCheckpoint(); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return fs, nil
}

// mainBlocks is the number of blocks of the main area.
func (fs *FileSystem) mainBlocks() uint64 {
	return uint64(fs.sb.SegmentCountMain) << disk.LogBlocksPerSeg
}

// Size returns the length of the file system in bytes, and how many of them are free.
func (fs *FileSystem) Size() (size, free uint64) {
	used := min(fs.cp.ValidBlockCount, fs.cp.UserBlockCount)
	return fs.sb.BlockCount * disk.BlockSize, (fs.cp.UserBlockCount - used) * disk.BlockSize
}

// UUID returns the ID of the file system.
func (fs *FileSystem) UUID() uuid.UUID { return fs.sb.UUID }

// Label returns the name of the file system; empty if there is none.
func (fs *FileSystem) Label() string {
	units := fs.sb.VolumeName[:]
	for i, unit := range units {
		if unit == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// block reads a block.
func (fs *FileSystem) block(at uint64) ([]byte, error) {
	if at >= fs.sb.BlockCount {
		return nil, fsread.Damaged("block %d does not exist", at)
	}
	return fsread.Read(fs.r, int64(at)*disk.BlockSize, disk.BlockSize)
}

// checksum is the CRC-32 of f2fs, which begins with the magic number and has no inversions.
func checksum(data []byte) uint32 { return ^crc32.Update(^uint32(disk.Magic), crc32.IEEETable, data) }

// readCheckpoint reads the newer of the two checkpoints that are whole.
func (fs *FileSystem) readCheckpoint() error {
	var newest []byte
	var start uint64
	for i := range uint64(disk.CheckpointPacks) {
		at := uint64(fs.sb.CPAddr) + i<<disk.LogBlocksPerSeg
		raw, cp, err := fs.checkpoint(at)
		if err != nil {
			continue // the other one is older, as after a loss of power
		}
		if newest == nil || cp.Version > fs.cp.Version {
			newest, start, fs.cp = raw, at, cp
		}
	}
	switch {
	case newest == nil:
		return fsread.Damaged("neither is whole")
	case fs.cp.Flags&disk.CheckpointUnmounted == 0:
		return errors.New(
			"the file system was not shut down properly: boot the image and shut it down, then read it again")
	}
	if err := fs.readBitmap(newest, start); err != nil {
		return err
	}
	return fs.readJournal(start)
}

// checkpoint reads a pack, which is whole if its last block is that of the same checkpoint as its first one.
func (fs *FileSystem) checkpoint(at uint64) (raw []byte, cp disk.Checkpoint, err error) {
	if raw, err = fs.validCheckpoint(at, &cp); err != nil {
		return nil, cp, err
	}
	var last disk.Checkpoint
	if cp.PackBlocks < summariesAtEnd || cp.PackBlocks > disk.BlocksPerSegment {
		return nil, cp, fsread.Damaged("a pack of %d blocks", cp.PackBlocks)
	}
	if _, err := fs.validCheckpoint(at+uint64(cp.PackBlocks)-1, &last); err != nil {
		return nil, cp, err
	}
	if last.Version != cp.Version {
		return nil, cp, fsread.Damaged("a pack of two versions")
	}
	return raw, cp, nil
}

func (fs *FileSystem) validCheckpoint(at uint64, cp *disk.Checkpoint) ([]byte, error) {
	raw, err := fs.block(at)
	if err != nil {
		return nil, err
	}
	disk.Get(raw, cp)
	sum := int64(cp.ChecksumOffset)
	if sum < disk.CheckpointSize || sum > disk.CheckpointChecksum {
		return nil, fsread.Damaged("a checksum at %d", sum)
	}
	got := checksum(raw[:sum])
	if sum < disk.CheckpointChecksum { // of the rest as well (f2fs_checkpoint_chksum)
		got = ^crc32.Update(^got, crc32.IEEETable, raw[sum+4:])
	}
	if got != binary.LittleEndian.Uint32(raw[sum:]) {
		return nil, fsread.Damaged("checksum mismatch")
	}
	return raw, nil
}

// readBitmap finds the bitmap of the table of nodes (__bitmap_ptr).
func (fs *FileSystem) readBitmap(first []byte, start uint64) error {
	all := first[disk.CheckpointSize:]
	switch {
	case fs.cp.Flags&largeNATBitmap != 0:
		const sumSize = 4
		all = all[sumSize:]
	case fs.sb.CPPayload > 0: // that of the table of segments is in the blocks that follow
	default:
		if int64(fs.cp.SITBitmapSize) > int64(len(all)) {
			return fsread.Damaged("a bitmap of %d bytes", fs.cp.SITBitmapSize)
		}
		all = all[fs.cp.SITBitmapSize:]
	}
	for i := uint64(1); i <= uint64(fs.sb.CPPayload) && int64(len(all)) < int64(fs.cp.NATBitmapSize); i++ {
		next, err := fs.block(start + i)
		if err != nil {
			return err
		}
		all = append(all[:len(all):len(all)], next...)
	}
	if int64(fs.cp.NATBitmapSize) > int64(len(all)) {
		return fsread.Damaged("a bitmap of %d bytes", fs.cp.NATBitmapSize)
	}
	fs.bitmap = all[:fs.cp.NATBitmapSize]
	return nil
}

// readJournal reads the entries of the table of nodes that are in the summaries.
func (fs *FileSystem) readJournal(start uint64) error {
	const mostEntries, numberSize, countSize = 38, 4, 2
	at, skip := start+uint64(fs.cp.PackBlocks)-summariesAtEnd, summaryJournal
	if fs.cp.Flags&compactSummaries != 0 {
		at, skip = start+uint64(fs.cp.StartSummary), 0
	}
	raw, err := fs.block(at)
	if err != nil {
		return err
	}
	count := int(binary.LittleEndian.Uint16(raw[skip:]))
	if count > mostEntries {
		return fsread.Damaged("a journal of %d nodes", count)
	}
	fs.journal = map[uint32]disk.NATEntry{}
	for i := range count {
		b := raw[skip+countSize+i*(numberSize+disk.NATEntrySize):]
		var e disk.NATEntry
		disk.Get(b[numberSize:], &e)
		fs.journal[binary.LittleEndian.Uint32(b)] = e
	}
	return nil
}

// node reads the node of a number, and verifies that it is that.
func (fs *FileSystem) node(number uint32) ([]byte, disk.Footer, error) {
	var footer disk.Footer
	e, ok := fs.journal[number]
	if !ok {
		index := uint64(number / disk.NATEntriesPerBlock)
		segment, in := index>>disk.LogBlocksPerSeg, index&(disk.BlocksPerSegment-1)
		if index/8 >= uint64(len(fs.bitmap)) {
			return nil, footer, fsread.Damaged("node %d does not exist", number)
		}
		at := uint64(fs.sb.NATAddr) + segment<<(disk.LogBlocksPerSeg+1) + in
		if fs.bitmap[index/8]>>(7-index%8)&1 != 0 {
			at += disk.BlocksPerSegment
		}
		raw, err := fs.block(at)
		if err != nil {
			return nil, footer, err
		}
		disk.Get(raw[number%disk.NATEntriesPerBlock*disk.NATEntrySize:], &e)
	}
	if err := fs.inMain(e.BlockAddr); err != nil {
		return nil, footer, fmt.Errorf("node %d: %w", number, err)
	}
	raw, err := fs.block(uint64(e.BlockAddr))
	if err != nil {
		return nil, footer, err
	}
	if disk.Get(raw[disk.FooterOffset:], &footer); footer.Node != number || footer.Inode != e.Inode {
		return nil, footer, fsread.Damaged("node %d of inode %d is node %d of inode %d", number, e.Inode, footer.Node,
			footer.Inode)
	}
	return raw, footer, nil
}

// inMain returns an error for a block outside of the area of nodes and contents.
func (fs *FileSystem) inMain(at uint32) error {
	if at < fs.sb.MainAddr || uint64(at-fs.sb.MainAddr) >= fs.mainBlocks() {
		return fsread.Damaged("block %d is outside of the main area", at)
	}
	return nil
}
