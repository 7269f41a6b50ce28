// SPDX-License-Identifier: Apache-2.0

// Package xfs reads XFS file systems from an image file, without mounting anything.
//
//	fs, err := xfs.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system. It has owners, modes,
// times, hard links, device nodes, extended attributes with access control lists, and holes.
//
// It reads versions 4 and 5 with all block, inode and directory sizes, and the features up to Linux 6.12: types in
// directories, reflinks, large times and counters of extents, parent pointers. With version 5, everything that is read
// has its checksum and its owner verified, but for the contents of files, which have none. Every number on the disk is
// checked before it is used. Not supported, and rejected: a file system whose log must be replayed (the machine was not
// shut down), an external log, realtime devices, directories of version 1, metadata directories.
//
// Sources: Documentation/filesystems/xfs and fs/xfs of Linux 6.12, "XFS Algorithms & Data Structures".
package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// ErrNoXFS is returned for an image without an XFS.
var ErrNoXFS = errors.New("no XFS file system")

// FileSystem is an open file system. Several goroutines may use it at once if they may use its io.ReaderAt.
type FileSystem struct {
	r         io.ReaderAt
	sb        superBlock
	blockSize int64
	sums      bool // version 5
	fileTypes bool
}

// New opens the file system at the start of r. The error wraps ErrNoXFS if r holds something else.
func New(r io.ReaderAt) (*FileSystem, error) {
	fs := &FileSystem{r: r}
	raw := make([]byte, superSize)
	if _, err := r.ReadAt(raw, 0); errors.Is(err, io.EOF) {
		return nil, ErrNoXFS
	} else if err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	decode(raw, &fs.sb)
	sb := &fs.sb
	if string(sb.Magic[:]) != magic {
		return nil, ErrNoXFS
	}
	if err := fs.checkSuper(); err != nil {
		return nil, err
	}
	fs.blockSize = int64(sb.BlockSize)
	switch fs.sums = sb.Version&versionMask == versionCRC; {
	case fs.sums:
		fs.fileTypes = sb.Incompat&featureFileType != 0
		sector, err := fsread.Read(r, 0, int(sb.SectorSize))
		if err != nil {
			return nil, err
		}
		if !valid(sector, superChecksum) {
			return nil, fmt.Errorf("superblock: %w", errChecksum)
		}
	default:
		fs.fileTypes = sb.Features2&features2FileType != 0
	}
	return fs, fs.checkLog()
}

// checkSuper checks what the rest relies on.
func (fs *FileSystem) checkSuper() error {
	sb := &fs.sb
	version := sb.Version & versionMask
	unknown := sb.Incompat &^ readableFeatures
	switch {
	case version != versionPlain && version != versionCRC:
		return fmt.Errorf("XFS version %d is not supported; 4 and 5 are", version)
	case version == versionPlain && sb.Version&versionDirV2 == 0:
		return errors.New("XFS with directories of version 1 is not supported")
	case version == versionCRC && unknown&featureNeedsRepair != 0:
		return errors.New("the file system needs xfs_repair")
	case version == versionCRC && unknown != 0:
		return fmt.Errorf("the XFS has features that are not supported (0x%x)", unknown)
	case sb.LogStart == 0:
		return errors.New("XFS with an external log is not supported")
	case sb.BlockLog < minBlockLog || sb.BlockLog > maxBlockLog || sb.BlockSize != 1<<sb.BlockLog,
		sb.InodeLog < minInodeLog || sb.InodeLog > maxInodeLog || sb.InodeSize != 1<<sb.InodeLog,
		sb.InodeLog > sb.BlockLog || sb.InodesPerLog != sb.BlockLog-sb.InodeLog,
		sb.SectorLog < minBlockLog || sb.SectorLog > maxBlockLog-1,
		sb.SectorSize != 1<<sb.SectorLog, int(sb.DirBlockLog)+int(sb.BlockLog) > maxBlockLog, sb.GroupLog > 32,
		sb.GroupBlocks == 0 || uint64(sb.GroupBlocks) > 1<<sb.GroupLog, sb.Blocks > 1<<47:
		return fsread.Damaged("the superblock of an XFS with blocks of %d bytes", sb.BlockSize)
	}
	return nil
}

var errChecksum = fsread.Damaged("checksum mismatch")

// valid verifies the checksum of a block, which is at an offset in it.
func valid(block []byte, at int) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, block[:at])
	sum = crc32.Update(sum, table, make([]byte, 4))
	sum = crc32.Update(sum, table, block[at+4:])
	return binary.LittleEndian.Uint32(block[at:]) == sum
}

// Size returns the length of the file system in bytes, and how many of them are free.
func (fs *FileSystem) Size() (size, free uint64) {
	return fs.sb.Blocks << fs.sb.BlockLog, min(fs.sb.FreeBlocks, fs.sb.Blocks) << fs.sb.BlockLog
}

// UUID returns the ID of the file system.
func (fs *FileSystem) UUID() uuid.UUID { return fs.sb.UUID }

// Label returns the name of the file system; empty if there is none.
func (fs *FileSystem) Label() string { return fsread.Text(fs.sb.Label[:]) }

// decode decodes a structure from the beginning of data, which is long enough.
func decode(data []byte, structure any) { fsread.Decode(data, binary.BigEndian, structure) }

// offset returns where a block is. Its number has that of the allocation group in its upper bits.
func (fs *FileSystem) offset(block uint64) (int64, error) {
	group, in := block>>fs.sb.GroupLog, block&(1<<fs.sb.GroupLog-1)
	if group >= uint64(fs.sb.Groups) || in >= uint64(fs.sb.GroupBlocks) {
		return 0, fsread.Damaged("block %d does not exist", block)
	}
	if linear := group*uint64(fs.sb.GroupBlocks) + in; linear < fs.sb.Blocks {
		return int64(linear << fs.sb.BlockLog), nil
	}
	return 0, fsread.Damaged("block %d does not exist", block)
}

// blocks reads blocks that are contiguous.
func (fs *FileSystem) blocks(block uint64, count int) ([]byte, error) {
	at, err := fs.offset(block)
	if err != nil {
		return nil, err
	}
	return fsread.Read(fs.r, at, count<<fs.sb.BlockLog)
}

// checkLog returns an error unless the last record of the log is that of unmounting. The log is a ring of sectors,
// which begin with the number of the round that has written them.
func (fs *FileSystem) checkLog() error {
	const sector = 512
	start, err := fs.offset(fs.sb.LogStart)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	sectors := int64(fs.sb.LogBlocks) << fs.sb.BlockLog / sector
	if sectors == 0 {
		return fsread.Damaged("the log is empty")
	}
	read := func(n int64) (first, second uint32, raw []byte, err error) {
		raw, err = fsread.Read(fs.r, start+n*sector, sector)
		if err != nil {
			return 0, 0, nil, err
		}
		return binary.BigEndian.Uint32(raw), binary.BigEndian.Uint32(raw[4:]), raw, nil
	}
	cycle := func(n int64) (uint32, error) {
		first, second, _, err := read(n)
		if first == logMagic {
			first = second
		}
		return first, err
	}
	round, err := cycle(0)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	// The first sector of an earlier round; the end if all are of one.
	low, high := int64(0), sectors
	for low+1 < high {
		middle := (low + high) / 2
		c, err := cycle(middle)
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		if c == round {
			low = middle
		} else {
			high = middle
		}
	}
	// A record of unmounting has a header and one sector.
	const mostSectors = 10
	for n := low; n >= 0 && n > low-mostSectors; n-- {
		first, _, raw, err := read(n)
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		if first != logMagic {
			continue
		}
		var h logHeader
		decode(raw, &h)
		headers := int64(1)
		if size := int64(binary.BigEndian.Uint32(raw[logSizeAt:])); h.Version >= 2 && size > logHeaderLog {
			headers = (size + logHeaderLog - 1) / logHeaderLog
		}
		if n+headers >= sectors {
			break
		}
		_, _, operation, err := read(n + headers)
		if err == nil && h.Operations == 1 && operation[logFlagsAt]&logUnmount != 0 {
			return nil
		}
		break
	}
	return errors.New(
		"the file system was not shut down properly: boot the image and shut it down, then read it again")
}
