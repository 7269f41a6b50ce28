// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"
)

// Filesystem describes the file system to make, except for the tree that it will hold.
type Filesystem struct {
	// Type is the name that mkfs(8) and fstab(5) use: ext2, ext3, ext4, vfat, swap, …
	Type  string
	Label string
	// UUID names the file system; FAT uses its first four bytes as the volume ID.
	UUID uuid.UUID
	// Features names a set of file system features that the fsck and the boot loader must
	// understand. The values are those of the Formatter: a generation of e2fsprogs for ext4
	// (ext.E2fsprogs147). Empty means the oldest set, which everything reads.
	Features string
	// Time is written wherever the file system records its creation or last change.
	Time time.Time
	// Seed is the source of everything that would otherwise be random (the directory hash seed).
	Seed uuid.UUID
	// StartLBA is the first sector of the partition on the disk (FAT records it as hidden sectors).
	StartLBA uint64
	// SectorSize is that of the disk or, in a LUKS2 container, of the encryption; 0 means 512. The
	// sectors of a FAT must have the same size.
	SectorSize Size
}

// Formatter plans one kind of file system.
type Formatter interface {
	// Plan lays out the whole file system before anything is written. It reads names and metadata
	// of the tree, not contents. size is the length of the partition. The error is a *NoSpaceError
	// if the tree does not fit.
	Plan(size Size, fs Filesystem, tree Tree) (Volume, error)
}

// Volume is a planned file system.
type Volume interface {
	// Write writes the file system to dst, whose bytes must all be zero and whose offset 0 is the
	// start of the partition. Blocks of zeros are not written, so that a sparse file stays sparse.
	// One goroutine at a time calls dst, always in the same order. If dst is part of an open file
	// (FileOf), blocks may be shared with the files of the tree instead of being written.
	Write(ctx context.Context, dst io.WriterAt) error
	// Extents returns the ranges of a regular file's data, in bytes from the start of the
	// partition, in file order, without holes. The error wraps fs.ErrNotExist if there is no
	// regular file of that name.
	Extents(name string) ([]Extent, error)
}

// UsedSpace is implemented by volumes that know which of their bytes matter, including zeros. All
// other bytes are free space, which is written before it is read. If a volume does not implement
// it, every byte matters.
type UsedSpace interface {
	// Used returns ranges from the start of the partition, sorted and not adjacent.
	Used() []Extent
	// Zeros returns, in the same form, the parts of Used that Write does not write: long ranges of
	// zeros, such as an empty journal. Nil is always correct.
	Zeros() []Extent
}

// NoSpaceError reports that a tree does not fit into its file system.
type NoSpaceError struct {
	What              string // "blocks" or "inodes"
	Needed, Available uint64
	BlockSize         uint64 // of one block in bytes; 0 for inodes
}
