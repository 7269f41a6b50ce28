// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// Disk is the disk of an image.
type Disk struct {
	Format     string `json:"format"` // of the image: "raw", "qcow2"
	Size       uint64 `json:"size"`   // of the disk
	SectorSize uint64 `json:"sector_size"`
	// Table is "gpt" or "msdos"; empty if there is none.
	Table      string      `json:"table,omitempty"`
	Partitions []Partition `json:"partitions"`
	// Filesystem is that of a disk without a table.
	Filesystem *Filesystem `json:"filesystem,omitempty"`
}

// Partition is a partition, in the order of their numbers.
type Partition struct {
	Number int `json:"number"`
	// Type is the purpose: "esp", "boot", "root", "swap", "bios-boot", "linux", another name of parted(8), or the number
	// in the table.
	Type       string      `json:"type"`
	ID         string      `json:"id,omitempty"` // PARTUUID
	Label      string      `json:"label,omitempty"`
	Bootable   bool        `json:"bootable,omitempty"`
	Start      uint64      `json:"start"`
	Size       uint64      `json:"size"`
	Filesystem *Filesystem `json:"filesystem,omitempty"`
}

// Filesystem is what a partition holds. All but the type is known only of those that are read.
type Filesystem struct {
	Type       string `json:"type"` // as blkid(8) names it
	ID         string `json:"id,omitempty"`
	Label      string `json:"label,omitempty"`
	Size       uint64 `json:"size,omitempty"`
	Free       uint64 `json:"free,omitempty"` // with what is reserved for root
	MountPoint string `json:"mount_point,omitempty"`
	Encrypted  bool   `json:"encrypted,omitempty"`
	Error      string `json:"error,omitempty"` // why it cannot be read
}

func newDisk(d *imagetree.Disk, format string) *Disk {
	if d == nil {
		return nil
	}
	disk := &Disk{Format: format, Size: uint64(d.Size), SectorSize: uint64(d.SectorSize), Partitions: []Partition{},
		Filesystem: filesystemOf(d, 0)}
	for _, p := range d.Partitions {
		disk.Table = string(p.Table())
		disk.Partitions = append(disk.Partitions, Partition{Number: p.Number, Type: p.TypeName(), ID: p.UUID,
			Label: p.Label, Bootable: p.Bootable, Start: uint64(p.Start), Size: uint64(p.Size),
			Filesystem: filesystemOf(d, p.Number)})
	}
	return disk
}

// filesystemOf returns the file system of a partition, or of the disk itself for number 0; nil if there is none.
func filesystemOf(d *imagetree.Disk, partition int) *Filesystem {
	for _, f := range d.FileSystems {
		if f.Partition != partition {
			continue
		}
		found := &Filesystem{Type: f.Type, ID: f.UUID, Label: f.Label, Size: uint64(f.Size), Free: uint64(f.Free),
			MountPoint: f.MountPoint, Encrypted: f.Encrypted}
		if f.Err != nil {
			found.Error = f.Err.Error()
		}
		return found
	}
	return nil
}
