// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"
)

// Filesystem says what file system to make, beside the tree it will hold.
type Filesystem struct {
	// Type is the name that mkfs(8) and fstab(5) use: ext2, ext3, ext4, vfat, swap, …
	Type  string
	Label string
	// UUID names the file system; FAT uses its first four bytes as the volume ID.
	UUID uuid.UUID
	// Features names a set of file system features, in the words of the Formatter, because the fsck and the
	// boot loader that will meet the file system must understand it: a generation of e2fsprogs for ext4
	// (ext.E2fsprogs147). Empty is the oldest set, which everything reads.
	Features string
	// Time is written wherever the file system records when it was made or last changed.
	Time time.Time
	// Seed feeds everything that would otherwise be random (the directory hash seed).
	Seed uuid.UUID
	// StartLBA is the first sector of the partition on the disk (FAT records it as hidden sectors).
	StartLBA uint64
	// SectorSize is that of the disk; 0 is 512. A FAT has to have sectors of the same size.
	SectorSize Size
}

// Formatter plans one kind of file system.
type Formatter interface {
	// Plan lays the whole file system out before anything is written. It reads names and metadata of the tree,
	// not contents. size is the length of the partition. A tree that does not fit gives a *NoSpaceError.
	Plan(size Size, fs Filesystem, tree Tree) (Volume, error)
}

// Volume is a planned file system.
type Volume interface {
	// Write writes the file system to dst, whose bytes must all be zero and whose offset 0 is the start of the
	// partition. Blocks that hold only zeros are not written, so a sparse file stays sparse. dst is called by one
	// goroutine at a time, always in the same order. If dst is a part of an open file (FileOf), blocks may get into it
	// without being written: shared with the files of the tree.
	Write(ctx context.Context, dst io.WriterAt) error
	// Extents returns the place of a regular file's data, in bytes from the start of the partition, in the order
	// of the file, holes left out. The error wraps fs.ErrNotExist for a name that is not a regular file there.
	Extents(name string) ([]Extent, error)
}

// UsedSpace is implemented by volumes that know which of their bytes matter, zeros among them; all others are
// free space, of which nothing will be read before it is written. Of a volume that does not know, every byte
// matters.
type UsedSpace interface {
	// Used lists the parts from the start of the partition on, in ascending order and apart.
	Used() []Extent
	// Zeros lists, in the same way, parts of Used where Write writes nothing: what is long and known to be zeros, such
	// as an empty journal. Nil is always right.
	Zeros() []Extent
}

// NoSpaceError says that a tree does not fit into its file system.
type NoSpaceError struct {
	What              string // "blocks" or "inodes"
	Needed, Available uint64
	BlockSize         uint64 // of one block in bytes; 0 for inodes
}
