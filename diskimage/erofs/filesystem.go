// SPDX-License-Identifier: Apache-2.0

// Package erofs reads erofs file systems from an image file, without mounting anything.
//
//	fs, err := erofs.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system. It has owners,
// modes, times, hard links, device nodes, and extended attributes with access control lists, as mkfs.erofs(1) has
// written them. Only files in chunks have holes.
//
// It reads what mkfs.erofs of erofs-utils 1.0 to 1.8 writes: plain, inline, compressed and chunked files, with LZ4,
// LZMA, DEFLATE and Zstandard, large physical clusters, tails in inodes (-Eztailpacking), fragments, and deduplicated
// blocks. The superblock has a checksum, which is verified; every other number is checked before it is used. Not
// supported, and rejected: several devices, the layouts of Linux 6.15 and later for more than 2^32 blocks (-E48bit),
// and LZ4 as before Linux 5.3.
//
// The tests use LZ4, the only method that mkfs.erofs of Debian 12 has.
//
// The library go-erofs reads no compressed files, and mkfs.erofs of vmdebootstrap compresses.
//
// Sources: Documentation/filesystems/erofs.rst and fs/erofs of Linux 6.12, erofs-utils 1.8.
package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// ErrNoErofs is returned for an image without an erofs.
var ErrNoErofs = errors.New("no erofs file system")

// FileSystem is an open file system. Several goroutines may use it at once if they may use its io.ReaderAt.
type FileSystem struct {
	r         io.ReaderAt
	sb        superBlock
	blockSize int64
	packed    *fsread.Content // of files that have no blocks of their own; nil if there are none
	prefixes  []string        // long ones of extended attributes
	cache     fsread.Cache
}

// New opens the file system at the start of r. The error wraps ErrNoErofs if r holds something else.
func New(r io.ReaderAt) (*FileSystem, error) {
	fs := &FileSystem{r: r}
	raw := make([]byte, binary.Size(fs.sb))
	if _, err := r.ReadAt(raw, superOffset); errors.Is(err, io.EOF) {
		return nil, ErrNoErofs
	} else if err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	decode(raw, &fs.sb)
	sb := &fs.sb
	switch unknown := sb.FeatureIncompat &^ readableFeatures; {
	case sb.Magic != magic:
		return nil, ErrNoErofs
	case unknown != 0:
		return nil, fmt.Errorf("the erofs has features that are not supported (0x%x)", unknown)
	case sb.ExtraDevices != 0:
		return nil, errors.New("an erofs on several devices is not supported")
	case sb.BlockBits < minBlockBits || sb.BlockBits > maxBlockBits || sb.DirBlockBits != 0:
		return nil, fsread.Damaged("an erofs with blocks of 2^%d bytes", sb.BlockBits)
	}
	fs.blockSize = 1 << sb.BlockBits
	if err := fs.checkSuper(); err != nil {
		return nil, err
	}
	if sb.PackedInode != 0 && sb.FeatureIncompat&featureFragments != 0 {
		n, err := source{fs}.inode(sb.PackedInode)
		if err == nil {
			fs.packed, err = n.content()
		}
		if err != nil {
			return nil, fmt.Errorf("packed inode: %w", err)
		}
	}
	return fs, fs.readPrefixes()
}

// checkSuper verifies the checksum of the superblock, which is about its whole block, with zeros in its own place
// (erofs_superblock_csum_verify).
func (fs *FileSystem) checkSuper() error {
	if fs.sb.FeatureCompat&compatChecksum == 0 {
		return nil
	}
	length := int(fs.blockSize)
	if length > superOffset {
		length -= superOffset
	}
	raw, err := fsread.Read(fs.r, superOffset, length)
	if err != nil {
		return err
	}
	clear(raw[4:8])
	if ^crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)) != fs.sb.Checksum {
		return fmt.Errorf("superblock: %w", fsread.Damaged("checksum mismatch"))
	}
	return nil
}

// Size returns the length of the file system in bytes, and how many of them are free: none.
func (fs *FileSystem) Size() (size, free uint64) { return uint64(fs.sb.Blocks) << fs.sb.BlockBits, 0 }

// UUID returns the ID of the file system.
func (fs *FileSystem) UUID() uuid.UUID { return fs.sb.UUID }

// Label returns the name of the file system; empty if there is none.
func (fs *FileSystem) Label() string { return fsread.Text(fs.sb.Label[:]) }

// decode decodes a structure from the beginning of data, which is long enough.
func decode(data []byte, structure any) { fsread.Decode(data, binary.LittleEndian, structure) }

// get reads and decodes a structure.
func (fs *FileSystem) get(at int64, structure any) error {
	raw, err := fsread.Read(fs.r, at, binary.Size(structure))
	if err == nil {
		decode(raw, structure)
	}
	return err
}

// within returns an error unless length bytes at an offset are in the file system.
func (fs *FileSystem) within(at, length int64) error {
	if size, _ := fs.Size(); at < 0 || length < 0 || uint64(at) > size || uint64(length) > size-uint64(at) {
		return fsread.Damaged("%d bytes at %d are outside of the file system", length, at)
	}
	return nil
}

// readPrefixes reads the prefixes of names that many attributes have.
func (fs *FileSystem) readPrefixes() error {
	if fs.sb.FeatureIncompat&featureXattrPrefixes == 0 {
		return nil
	}
	in, at := io.ReaderAt(fs.r), int64(fs.sb.XattrPrefixStart)*4
	if fs.packed != nil {
		in = fs.packed
	}
	for range fs.sb.XattrPrefixes {
		const most = 256
		head, err := fsread.Read(in, at, 2)
		if err != nil {
			return fmt.Errorf("prefixes of extended attributes: %w", err)
		}
		length := int(binary.LittleEndian.Uint16(head))
		if length < 1 || length > most {
			return fsread.Damaged("a prefix of extended attributes with %d bytes", length)
		}
		text, err := fsread.Read(in, at+2, length)
		if err != nil {
			return fmt.Errorf("prefixes of extended attributes: %w", err)
		}
		fs.prefixes = append(fs.prefixes, xattrNames[text[0]]+string(text[1:]))
		at += int64(2+length+3) &^ 3
	}
	return nil
}
