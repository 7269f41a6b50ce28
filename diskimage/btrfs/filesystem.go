// SPDX-License-Identifier: Apache-2.0

// Package btrfs reads btrfs file systems from an image file, without mounting anything.
//
//	fs, err := btrfs.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system. It has owners, modes,
// times, hard links, device nodes, extended attributes with access control lists, and holes.
//
// The root is the default subvolume; if that is the top level and has no /etc, the subvolume @rootfs or @ of it, where
// the installers of Debian and Ubuntu put the system. Subvolumes and snapshots below the root are directories, as in
// the mounted file system.
//
// It reads one device with profile single or DUP, all types of checksums and compression (zlib, LZO, Zstandard), and
// what mkfs.btrfs(8) and Linux write. The checksums of the superblock and of all nodes of trees are verified, not
// those of the contents of files; every number on the disk is checked before it is used. Not supported, and rejected:
// several devices, RAID, zoned devices, extent tree v2, and a file system with a log tree, whose last changes are not
// in their places (the machine was not shut down).
//
// Sources: the on-disk format of btrfs.readthedocs.io, and fs/btrfs of Linux 6.12.
package btrfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"golang.org/x/crypto/blake2b"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// ErrNoBtrfs is returned for an image without a btrfs.
var ErrNoBtrfs = errors.New("no btrfs file system")

// checksums are the types of checksums by their numbers.
var checksums = []func([]byte) []byte{
	func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	},
	func(b []byte) []byte { return binary.LittleEndian.AppendUint64(nil, xxhash.Sum64(b)) },
	func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] },
	func(b []byte) []byte { sum := blake2b.Sum256(b); return sum[:] },
}

// FileSystem is an open file system. Several goroutines may use it at once if they may use its io.ReaderAt.
type FileSystem struct {
	r      io.ReaderAt
	sb     superBlock
	chunks []mapping
	trees  tree // of all others
	root   id
	cache  fsread.Cache
}

// mapping is a chunk on this device.
type mapping struct{ logical, length, physical uint64 }

// tree is the root of a tree.
type tree struct {
	at    uint64
	level uint8
}

// New opens the file system at the start of r. The error wraps ErrNoBtrfs if r holds something else.
func New(r io.ReaderAt) (*FileSystem, error) {
	fs := &FileSystem{r: r}
	raw := make([]byte, superSize)
	if _, err := r.ReadAt(raw, superOffset); errors.Is(err, io.EOF) {
		return nil, ErrNoBtrfs
	} else if err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	decode(raw, &fs.sb)
	sb := &fs.sb
	if string(sb.Magic[:]) != magic {
		return nil, ErrNoBtrfs
	}
	if int(sb.ChecksumType) >= len(checksums) {
		return nil, fmt.Errorf("btrfs with checksums of the unknown type %d", sb.ChecksumType)
	}
	if !fs.valid(raw) {
		return nil, fmt.Errorf("superblock: %w", fsread.Damaged("checksum mismatch"))
	}
	powerOfTwo := func(n uint32) bool { return n&(n-1) == 0 }
	switch unknown := sb.Incompat &^ readableFeatures; {
	case unknown&featureRAID1C34 != 0 || sb.Devices > 1:
		return nil, errors.New("a btrfs on several devices is not supported")
	case unknown != 0:
		return nil, fmt.Errorf("the btrfs has features that are not supported (0x%x)", unknown)
	case sb.LogRoot != 0:
		return nil, errors.New(
			"the file system was not shut down properly: boot the image and shut it down, then read it again")
	case sb.NodeSize < superSize || sb.NodeSize > maxNode || !powerOfTwo(sb.NodeSize) || sb.SectorSize < minSector ||
		sb.SectorSize > maxNode || !powerOfTwo(sb.SectorSize):
		return nil, fsread.Damaged("a btrfs with nodes of %d and sectors of %d bytes", sb.NodeSize, sb.SectorSize)
	}
	if err := fs.readChunks(); err != nil {
		return nil, fmt.Errorf("chunks: %w", err)
	}
	fs.trees = tree{sb.Root, sb.RootLevel}
	return fs, fs.findRoot()
}

// valid reports whether the checksum at the beginning of a block is that of the rest.
func (fs *FileSystem) valid(block []byte) bool {
	return bytes.HasPrefix(block, checksums[fs.sb.ChecksumType](block[checksumSize:]))
}

// Size returns the length of the file system in bytes, and how many of them are free.
func (fs *FileSystem) Size() (size, free uint64) {
	return fs.sb.TotalBytes, fs.sb.TotalBytes - min(fs.sb.TotalBytes, fs.sb.BytesUsed)
}

// UUID returns the ID of the file system.
func (fs *FileSystem) UUID() uuid.UUID { return fs.sb.FSID }

// Label returns the name of the file system; empty if there is none.
func (fs *FileSystem) Label() string { return fsread.Text(fs.sb.Label[:]) }

// decode decodes a structure from the beginning of data, which is long enough.
func decode(data []byte, structure any) { fsread.Decode(data, binary.LittleEndian, structure) }

// take decodes a structure and returns what follows it.
func take(data []byte, structure any) ([]byte, error) {
	size := binary.Size(structure)
	if len(data) < size {
		return nil, fsread.Damaged("an item of %d bytes is too short", len(data))
	}
	decode(data, structure)
	return data[size:], nil
}

// readChunks reads the chunks of the superblock, and with them the tree of all.
func (fs *FileSystem) readChunks() error {
	if fs.sb.SystemSize > systemChunks {
		return fsread.Damaged("%d bytes of system chunks", fs.sb.SystemSize)
	}
	rest := fs.sb.SystemChunks[:fs.sb.SystemSize]
	for len(rest) > 0 {
		var k key
		var err error
		if rest, err = take(rest, &k); err != nil {
			return err
		}
		if rest, err = fs.addChunk(k, rest); err != nil {
			return err
		}
	}
	fs.sortChunks()
	var all []foundItem
	for found, err := range fs.items(tree{fs.sb.ChunkRoot, fs.sb.ChunkLevel}, objectChunks, keyChunk) {
		if err != nil {
			return err
		}
		all = append(all, found)
	}
	fs.chunks = nil
	for _, found := range all {
		if _, err := fs.addChunk(found.key, found.data); err != nil {
			return err
		}
	}
	fs.sortChunks()
	return nil
}

func (fs *FileSystem) sortChunks() {
	slices.SortFunc(fs.chunks, func(a, b mapping) int {
		if a.logical < b.logical {
			return -1
		}
		return 1
	})
}

// addChunk adds the stripe of a chunk that is on this device, and returns what follows.
func (fs *FileSystem) addChunk(k key, data []byte) ([]byte, error) {
	var c chunk
	rest, err := take(data, &c)
	if err != nil {
		return nil, err
	}
	if c.Type&manyStripes != 0 {
		return nil, errors.New("a btrfs with RAID is not supported")
	}
	if c.Stripes == 0 || c.Length == 0 || k.Offset+c.Length < k.Offset {
		return nil, fsread.Damaged("a chunk of %d bytes", c.Length)
	}
	found := false
	for range c.Stripes {
		var s stripe
		if rest, err = take(rest, &s); err != nil {
			return nil, err
		}
		if s.Device != fs.sb.Device.ID || found {
			continue
		}
		found = true
		fs.chunks = append(fs.chunks, mapping{k.Offset, c.Length, s.Offset})
	}
	return rest, nil
}

// physical returns where length bytes at a logical address are.
func (fs *FileSystem) physical(at, length uint64) (int64, error) {
	i, found := slices.BinarySearchFunc(fs.chunks, at, func(m mapping, at uint64) int {
		switch {
		case at < m.logical:
			return 1
		case at-m.logical >= m.length:
			return -1
		}
		return 0
	})
	const most = 1 << 62
	if !found || length > fs.chunks[i].length-(at-fs.chunks[i].logical) || fs.chunks[i].physical > most {
		return 0, fsread.Damaged("no chunk holds %d bytes at %d", length, at)
	}
	return int64(fs.chunks[i].physical + (at - fs.chunks[i].logical)), nil
}
