// SPDX-License-Identifier: Apache-2.0

package imagetree

import (
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/btrfs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/erofs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/f2fsread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat/fatread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/squashfs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/xfs"
)

// readable are the types that are read, for messages; readableTypes are their names in fstab(5).
const readable = "ext2, ext3, ext4, FAT, squashfs, erofs, btrfs, XFS and f2fs"

var readableTypes = []string{"ext2", "ext3", "ext4", "vfat", "squashfs", "erofs", "btrfs", "xfs",
	"f2fs"}

// Types without files: swap space, and the hash tree of dm-verity.
const (
	swap       = "swap"
	verityHash = "DM_verity_hash"
)

// fileSystem is what the packages of file systems return.
type fileSystem interface {
	diskimage.Tree
	Size() (size, free uint64)
}

// named is a fileSystem whose format has an ID and a label.
type named interface {
	UUID() uuid.UUID
	Label() string
}

// opener adapts a function that opens a file system.
func opener[F fileSystem](open func(io.ReaderAt) (F, error)) func(io.ReaderAt) (fileSystem, error) {
	return func(r io.ReaderAt) (fileSystem, error) { return open(r) }
}

// signatures are the types that are recognised by a signature, as blkid(8) names them (libblkid/src/superblocks of
// util-linux). Those that are not read have no open.
var signatures = []struct {
	kind, magic string
	offset      int64
	encrypted   bool
	open        func(io.ReaderAt) (fileSystem, error)
}{
	{kind: "crypto_LUKS", magic: "LUKS\xba\xbe", encrypted: true},
	{kind: "BitLocker", magic: "-FVE-FS-", offset: 3, encrypted: true},
	{kind: "btrfs", magic: "_BHRfS_M", offset: 0x10040, open: opener(btrfs.New)},
	{kind: "xfs", magic: "XFSB", open: opener(xfs.New)},
	{kind: "squashfs", magic: "hsqs", open: opener(squashfs.New)},
	{kind: "erofs", magic: "\xe2\xe1\xf5\xe0", offset: 1024, open: opener(erofs.New)},
	{kind: "f2fs", magic: "\x10\x20\xf5\xf2", offset: 1024, open: opener(f2fsread.New)},
	{kind: "bcachefs", magic: "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", offset: 4096 + 24},
	{kind: swap, magic: "SWAPSPACE2", offset: 4096 - 10},
	{kind: verityHash, magic: "verity\x00\x00"},
	{kind: "LVM2_member", magic: "LABELONE", offset: 512},
	{kind: "linux_raid_member", magic: "\xfc\x4e\x2b\xa9", offset: 4096},
	{kind: "ntfs", magic: "NTFS    ", offset: 3},
	{kind: "exfat", magic: "EXFAT   ", offset: 3},
	{kind: "iso9660", magic: "CD001", offset: 32769},
}

// Holds reports whether r, an image of size bytes, is a disk: it has a partition table, a boot sector or something
// with a known signature.
func Holds(r io.ReaderAt, size diskimage.Size) bool {
	if diskimage.IsDisk(r, size) {
		return true
	}
	found, err := readFileSystem(r)
	return found.Type != "" || err != nil
}

// readFileSystem returns what r holds. Its Tree is nil if the type is not read; its Type is empty if it is unknown. The
// error is that of a damaged file system of a type that is read.
func readFileSystem(r io.ReaderAt) (FileSystem, error) {
	extFS, err := extread.New(r)
	if err == nil {
		size, free := extFS.Size()
		return FileSystem{Type: extFS.Type(), UUID: extFS.UUID().String(), Label: extFS.Label(), Tree: extFS,
			Size: diskimage.Size(size), Free: diskimage.Size(free)}, nil
	}
	if !errors.Is(err, extread.ErrNoExt) {
		return FileSystem{Type: "ext"}, err
	}
	fatFS, err := fatread.New(r)
	if err == nil {
		size, free := fatFS.Size()
		return FileSystem{Type: "vfat", UUID: fatFS.VolumeID(), Label: fatFS.Label(), Tree: fatFS,
			Size: diskimage.Size(size), Free: diskimage.Size(free)}, nil
	}
	if !errors.Is(err, fatread.ErrNoFAT) {
		return FileSystem{Type: "vfat"}, err
	}
	for _, s := range signatures {
		magic := make([]byte, len(s.magic))
		if _, err := r.ReadAt(magic, s.offset); err == nil && string(magic) == s.magic {
			f := FileSystem{Type: s.kind, Encrypted: s.encrypted}
			if s.open != nil {
				err = f.read(r, s.open)
			}
			return f, err
		}
	}
	return FileSystem{}, nil
}

// read opens a file system and sets what is known of it.
func (f *FileSystem) read(r io.ReaderAt, open func(io.ReaderAt) (fileSystem, error)) error {
	opened, err := open(r)
	if err != nil {
		return err
	}
	size, free := opened.Size()
	f.Tree, f.Size, f.Free = opened, diskimage.Size(size), diskimage.Size(free)
	if n, ok := opened.(named); ok {
		f.UUID, f.Label = n.UUID().String(), n.Label()
	}
	return nil
}

// unread returns why the files of a file system cannot be read; nil if they can, or if there are none.
func (f FileSystem) unread() error {
	where := "the disk"
	if f.Partition > 0 {
		where = fmt.Sprintf("partition %d", f.Partition)
	}
	switch {
	case f.Err != nil:
		return fmt.Errorf("%s: %w", where, f.Err)
	case f.Tree != nil || f.Type == "" || f.Type == swap || f.Type == verityHash:
		return nil
	case f.Encrypted:
		return fmt.Errorf("%s is encrypted (%s), and its files cannot be read", where, f.Type)
	}
	return fmt.Errorf("%s is of type %s, which cannot be read; %s can", where, f.Type, readable)
}
