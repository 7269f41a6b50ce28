// SPDX-License-Identifier: Apache-2.0

package imagetree

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Disk is what was found on a disk.
type Disk struct {
	Size       diskimage.Size
	SectorSize diskimage.Size
	// Partitions are empty if there is no partition table.
	Partitions []diskimage.FoundPartition
	// FileSystems are those of the partitions and of the disk itself, as far as their types are known: also swap space
	// and what is encrypted.
	FileSystems []FileSystem
	r           io.ReaderAt
}

// FileSystem is one file system of a disk.
type FileSystem struct {
	// Type is the type as blkid(8) names it: "ext4", "vfat", "crypto_LUKS".
	Type string
	// UUID and Label are as in fstab(5). They, Size and Free are known only of a file system that is read.
	UUID, Label string
	Size, Free  diskimage.Size
	Encrypted   bool
	// Partition is the number of its partition; 0 if it is the disk itself.
	Partition int
	Start     int64 // on the disk, in bytes
	// MountPoint is where the system has it: "/", "/boot/efi"; empty if it does not mount it. Disk.System sets it.
	MountPoint string
	// Tree is nil if the type is not read, or if Err says why this one cannot be.
	Tree diskimage.Tree
	Err  error
}

// ReadDisk looks at each partition of a disk of size bytes.
func ReadDisk(r io.ReaderAt, size diskimage.Size) (*Disk, error) {
	partitions, err := diskimage.ReadTable(r, size)
	if err != nil && !errors.Is(err, diskimage.ErrNoTable) {
		return nil, err
	}
	d := &Disk{Size: size, SectorSize: diskimage.DetectSectorSize(r, size), Partitions: partitions, r: r}
	// The boot sector of a file system may look like a table.
	if f, err := readFileSystem(r); len(partitions) == 0 || f.Tree != nil {
		f.Err = err
		d.add(f)
	}
	for _, p := range partitions {
		f, err := readFileSystem(p.Section(r))
		f.Partition, f.Start, f.Err = p.Number, int64(p.Start), err
		d.add(f)
	}
	return d, nil
}

func (d *Disk) add(f FileSystem) {
	if f.Type != "" {
		d.FileSystems = append(d.FileSystems, f)
	}
}

// Data returns the bytes of the disk.
func (d *Disk) Data() io.ReaderAt { return d.r }

// BootSector returns the first sector of the disk, which may have boot code.
func (d *Disk) BootSector() ([]byte, error) {
	sector := make([]byte, diskimage.SectorSize)
	_, err := d.r.ReadAt(sector, 0)
	return sector, err
}

// Readable returns the file systems that are read. The error says why there are none.
func (d *Disk) Readable() ([]FileSystem, error) {
	found := slices.DeleteFunc(slices.Clone(d.FileSystems), func(f FileSystem) bool { return f.Tree == nil })
	if len(found) == 0 {
		if err := d.unread(); err != nil {
			return nil, err
		}
		return nil, errors.New("there is no file system of type " + strings.Replace(readable, " and ", " or ", 1))
	}
	return found, nil
}

// unread returns why the other file systems cannot be read.
func (d *Disk) unread() error {
	var problems []error
	for _, f := range d.FileSystems {
		problems = append(problems, f.unread())
	}
	return errors.Join(problems...)
}

// System returns the system on the disk, with the file systems that it mounts at their mount points.
func (d *Disk) System() (*Tree, error) {
	found, err := d.Readable()
	if err != nil {
		return nil, err
	}
	for _, marks := range [][]string{{fstab}, {"etc/os-release", "usr/lib/os-release"}} {
		for _, f := range found {
			for _, name := range marks {
				text, err := ReadFile(f.Tree, name)
				if err != nil {
					return nil, err
				}
				if text != nil && name == fstab {
					return d.mount(f, text)
				}
				if text != nil {
					return d.mount(f, nil)
				}
			}
		}
	}
	if len(d.Partitions) < 2 {
		return d.mount(found[0], nil)
	}
	return nil, errors.Join(d.unread(), errors.New("no file system has /etc/fstab or /etc/os-release"))
}
