// SPDX-License-Identifier: Apache-2.0

// Package squashfs reads squashfs file systems from an image file, without mounting anything.
//
//	fs, err := squashfs.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree: it can be written to a tar archive or to another file system. It has owners, modes,
// times in seconds, hard links, device nodes, extended attributes and holes, as mksquashfs(1) has written them.
//
// It reads version 4.0, which mksquashfs writes since 2009, with all methods of compression: gzip, lzma, lzo, xz, lz4
// and zstd. The format has no checksums; every number on the disk is checked before it is used, and damage that shows
// is an error with the name of the file. Not supported: versions before 4.0. Squashfs itself has neither access
// control lists nor nanoseconds.
//
// Sources: Documentation/filesystems/squashfs.rst and fs/squashfs of Linux 6.12. The library go-diskfs, which this
// program has for VMDK, reads squashfs, too, but trusts the numbers on the disk.
package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// ErrNoSquashfs is returned for an image without a squashfs.
var ErrNoSquashfs = errors.New("no squashfs file system")

// methods are the methods of compression by their numbers on the disk.
var methods = map[uint16]fsread.Method{1: fsread.Zlib, 2: fsread.LZMA, 3: fsread.LZO, 4: fsread.XZ, 5: fsread.LZ4,
	6: fsread.Zstd}

// FileSystem is an open file system. Several goroutines may use it at once if they may use its io.ReaderAt.
type FileSystem struct {
	r         io.ReaderAt
	sb        superBlock
	method    fsread.Method
	ids       []uint32
	fragments []fragmentEntry
	xattrIDs  []xattrID
	xattrs    uint64 // offset of the attributes
	cache     fsread.Cache
}

// New opens the file system at the start of r and reads its tables. The error wraps ErrNoSquashfs if r holds something
// else.
func New(r io.ReaderAt) (*FileSystem, error) {
	fs := &FileSystem{r: r}
	raw := make([]byte, size(fs.sb))
	if _, err := r.ReadAt(raw, 0); errors.Is(err, io.EOF) {
		return nil, ErrNoSquashfs
	} else if err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	decode(raw, &fs.sb)
	sb := &fs.sb
	if sb.Magic != magic {
		return nil, ErrNoSquashfs
	}
	if sb.Major != majorVersion {
		return nil, fmt.Errorf("squashfs %d.%d is not supported; 4.0 is", sb.Major, sb.Minor)
	}
	if sb.BlockLog < minBlockLog || sb.BlockLog > maxBlockLog || sb.BlockSize != 1<<sb.BlockLog {
		return nil, fsread.Damaged("a squashfs with blocks of %d bytes", sb.BlockSize)
	}
	if fs.method = methods[sb.Compression]; fs.method == 0 {
		return nil, fmt.Errorf("squashfs with the unknown compression %d", sb.Compression)
	}
	return fs, fs.readTables()
}

// Size returns the length of the file system in bytes, and how many of them are free: none.
func (fs *FileSystem) Size() (size, free uint64) { return fs.sb.BytesUsed, 0 }

// decode decodes a structure from the beginning of data, which is long enough.
func decode(data []byte, structure any) { fsread.Decode(data, binary.LittleEndian, structure) }

// readTables reads the tables of owners, fragments and attributes.
func (fs *FileSystem) readTables() error {
	ids, err := fs.table(fs.sb.IDTable, int(fs.sb.IDs), size(uint32(0)))
	if err != nil {
		return fmt.Errorf("table of owners: %w", err)
	}
	fs.ids = make([]uint32, fs.sb.IDs)
	decode(ids, fs.ids)
	if fs.sb.Fragments > 0 {
		raw, err := fs.table(fs.sb.FragmentTable, int(fs.sb.Fragments), size(fragmentEntry{}))
		if err != nil {
			return fmt.Errorf("table of fragments: %w", err)
		}
		fs.fragments = make([]fragmentEntry, fs.sb.Fragments)
		decode(raw, fs.fragments)
	}
	if fs.sb.XattrTable == 1<<64-1 {
		return nil
	}
	var header xattrTable
	raw, err := fsread.Read(fs.r, int64(fs.sb.XattrTable), size(header))
	if err != nil {
		return fmt.Errorf("table of extended attributes: %w", err)
	}
	decode(raw, &header)
	fs.xattrs = header.Start
	raw, err = fs.table(fs.sb.XattrTable+uint64(size(header)), int(header.Count), size(xattrID{}))
	if err != nil {
		return fmt.Errorf("table of extended attributes: %w", err)
	}
	fs.xattrIDs = make([]xattrID, header.Count)
	decode(raw, fs.xattrIDs)
	return nil
}

// table reads a table of count entries, whose blocks are listed at an offset.
func (fs *FileSystem) table(at uint64, count, entrySize int) ([]byte, error) {
	length := count * entrySize
	blocks := (length + metadataSize - 1) / metadataSize
	if at > fs.sb.BytesUsed || uint64(blocks)*8 > fs.sb.BytesUsed-at {
		return nil, fsread.Damaged("the table of %d entries is outside of the file system", count)
	}
	raw, err := fsread.Read(fs.r, int64(at), 8*blocks)
	if err != nil {
		return nil, err
	}
	var all []byte
	for i := range blocks {
		block, _, err := fs.metadata(binary.LittleEndian.Uint64(raw[8*i:]))
		if err != nil {
			return nil, err
		}
		all = append(all, block...)
		if len(block) < metadataSize && i < blocks-1 {
			return nil, fsread.Damaged("a block of a table is too short")
		}
	}
	if len(all) < length {
		return nil, fsread.Damaged("the table is too short")
	}
	return all[:length], nil
}

// metadata reads the block of metadata at an offset, and returns the offset of the next one.
func (fs *FileSystem) metadata(at uint64) (block []byte, next uint64, err error) {
	const headerSize = 2
	if at >= fs.sb.BytesUsed {
		return nil, 0, fsread.Damaged("metadata at %d is outside of the file system", at)
	}
	raw, err := fsread.Read(fs.r, int64(at), headerSize)
	if err != nil {
		return nil, 0, err
	}
	header := binary.LittleEndian.Uint16(raw)
	length := int(header &^ rawMetadata)
	if length == 0 || length > metadataSize {
		return nil, 0, fsread.Damaged("a block of metadata with %d bytes", length)
	}
	block, err = fs.cache.Get(int64(at), int64(length), func() ([]byte, error) {
		data, err := fsread.Read(fs.r, int64(at)+headerSize, length)
		if err != nil || header&rawMetadata != 0 {
			return data, err
		}
		return fsread.Decompress(fs.method, data, metadataSize)
	})
	return block, at + headerSize + uint64(length), err
}

// metadataReader reads metadata that goes on in the next block.
type metadataReader struct {
	fs   *FileSystem
	next uint64
	rest []byte
	err  error
}

// metadataAt returns a reader at a reference, which has the block in its upper bits, relative to a table, and the
// offset in the block.
func (fs *FileSystem) metadataAt(table, reference uint64) *metadataReader {
	const offsetBits = 16
	m := &metadataReader{fs: fs, next: table + reference>>offsetBits}
	offset := int(reference & (1<<offsetBits - 1))
	if m.fill(); m.err == nil && offset >= len(m.rest) {
		m.err = fsread.Damaged("a reference is outside of its block")
	}
	if m.err == nil {
		m.rest = m.rest[offset:]
	}
	return m
}

func (m *metadataReader) fill() {
	if m.err == nil {
		m.rest, m.next, m.err = m.fs.metadata(m.next)
	}
}

// bytes returns the next n bytes; fewer after an error.
func (m *metadataReader) bytes(n int) []byte {
	var all []byte
	for m.err == nil && len(all) < n {
		if len(m.rest) == 0 {
			if m.fill(); len(m.rest) == 0 && m.err == nil {
				m.err = fsread.Damaged("an empty block of metadata")
			}
			continue
		}
		part := m.rest[:min(len(m.rest), n-len(all))]
		all, m.rest = append(all, part...), m.rest[len(part):]
	}
	return all
}

// get decodes the next structure.
func (m *metadataReader) get(structure any) error {
	raw := m.bytes(size(structure))
	if m.err == nil {
		decode(raw, structure)
	}
	return m.err
}

// data reads a block of a file or of fragments; size has the flag.
func (fs *FileSystem) data(at uint64, size uint32) ([]byte, error) {
	length := size &^ rawData
	if length > fs.sb.BlockSize || at > fs.sb.BytesUsed || uint64(length) > fs.sb.BytesUsed-at {
		return nil, fsread.Damaged("a block of %d bytes at %d", length, at)
	}
	return fs.cache.Get(int64(at), int64(size), func() ([]byte, error) {
		data, err := fsread.Read(fs.r, int64(at), int(length))
		if err != nil || size&rawData != 0 {
			return data, err
		}
		return fsread.Decompress(fs.method, data, int(fs.sb.BlockSize))
	})
}
