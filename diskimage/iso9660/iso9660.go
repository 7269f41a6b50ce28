// SPDX-License-Identifier: Apache-2.0

// Package iso9660 plans and writes live media: an ISO 9660 file system with Rock Ridge that firmware
// starts from a CD or DVD, and, as a copy of the same bytes, from a USB stick or another disk.
//
// The image is a disk with a GPT whose first partition is the file system and whose second one is
// the EFI system partition:
//
//	system area    MBR with boot code for a BIOS, GPT
//	32 KiB         descriptors, boot catalogue (El Torito), path tables and directories for a reader
//	               of the whole medium
//	1 MiB          partition 1: descriptors, path tables and directories for a reader of the
//	               partition, then the files, which both readers find
//	after it       partition 2: a FAT, which also is the boot image of the catalogue for UEFI
//	the end        backup GPT
//
// So the file system can be mounted by the name of the disk and by that of its first partition. The
// second way leaves the disk free for others: a live system can write to a third partition of the
// stick that it runs from. No partition overlaps another one.
//
// The standards are ECMA-119 (4th edition), SUSP 1.12, RRIP 1.12 as Linux reads it, with the
// identifier of version 1.10 ("RRIP_1991A") that GRUB looks for, El Torito 1.0, and UEFI 2.10, 13.3.2
// for the boot catalogue. Files of 4 GiB and more consist of several extents (level 3).
//
// Everything is planned first, and the same tree gives the same bytes. Recorded are names, types,
// permissions, owners, times to the second and targets of symbolic links. A hard link shares its
// blocks with the file. Not supported: device nodes, pipes and sockets, directories more than eight
// levels deep, targets of links that take more than 250 bytes, extended attributes, and Joliet, the
// long names of Windows.
package iso9660

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
)

// BlockSize is the length of a logical block, and of a sector of a CD.
const BlockSize = 2048

// Numbers of the partitions.
const (
	filesystemNumber = 1
	espNumber        = 2
)

// Medium describes an image.
type Medium struct {
	// VolumeID is the name of the file system, see CheckVolumeID.
	VolumeID string
	// Publisher and Application are further names, of up to 128 bytes.
	Publisher, Application string
	// Time is that of the file system, see UUID.
	Time time.Time
	// ID is the GUID of the disk.
	ID uuid.UUID
	// Files is the content of the file system.
	Files diskimage.Tree
	// BIOSImage names the file in Files that a BIOS starts from a CD; "" for none. It is loaded
	// without emulation of a disk. The caller patches it, see Plan.Block.
	BIOSImage string
	// ESP is the content of the EFI system partition; nil for none.
	ESP diskimage.Tree
}

// Plan is a planned medium.
type Plan struct {
	// Image is the whole disk.
	Image diskimage.Image
	files *filesystem
}

// Plan lays the medium out.
func (m Medium) Plan() (*Plan, error) {
	if err := CheckVolumeID(m.VolumeID); err != nil {
		return nil, err
	}
	files, err := newFilesystem(m)
	if err != nil {
		return nil, err
	}
	request := diskimage.Request{
		Table: diskimage.GPT, ID: m.ID, Offset: diskimage.Size(files.start) * BlockSize,
		Partitions: []diskimage.PartitionRequest{{Role: diskimage.RoleRoot, Number: filesystemNumber, Label: m.VolumeID,
			Filesystem: diskimage.Filesystem{Type: "iso9660", Time: m.Time}}},
	}
	if m.ESP != nil {
		size, err := espSize(m.ESP)
		if err != nil {
			return nil, err
		}
		request.Partitions = append(request.Partitions, diskimage.PartitionRequest{Role: diskimage.RoleESP, Size: size,
			Number: espNumber, Label: "EFI", Filesystem: diskimage.Filesystem{Type: "vfat", Time: m.Time,
				UUID: diskimage.DeriveID(m.ID, "ESP")}})
	}
	request.Size = request.DiskSize(diskimage.Size(files.end) * BlockSize)
	layout, err := diskimage.NewLayout(request)
	if err != nil {
		return nil, err
	}
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{filesystemNumber: files}}
	var esp diskimage.Partition
	if m.ESP != nil {
		esp = layout.Partitions[1]
		if image.Volumes[espNumber], err = (fat.Formatter{}).Plan(esp.Size, esp.Filesystem, m.ESP); err != nil {
			return nil, fmt.Errorf("EFI system partition: %w", err)
		}
	}
	head, err := files.head(m, blocks(int64(layout.Size)), esp)
	if err != nil {
		return nil, err
	}
	image.Blobs = []diskimage.Patch{{Offset: systemArea * BlockSize, Data: head, What: "directories of the medium"}}
	return &Plan{image, files}, nil
}

// Block returns the number of the first block of a file on the medium.
func (p *Plan) Block(name string) (uint32, error) {
	extents, err := p.files.Extents(name)
	if err != nil {
		return 0, err
	}
	if len(extents) == 0 {
		return 0, fmt.Errorf("position of %s: it is empty", name)
	}
	return p.files.start + uint32(extents[0].Offset/BlockSize), nil
}

// espSize returns a size that holds the files of a FAT. Clusters have up to 4 KiB below 8 GiB, and
// the two FATs of a FAT32 with clusters of 512 bytes take one sixty-fourth.
func espSize(tree diskimage.Tree) (diskimage.Size, error) {
	const cluster, overhead = 4 * diskimage.KiB, 256 * diskimage.KiB
	size := overhead
	for e, err := range tree.Entries() {
		if err != nil {
			return 0, err
		}
		size += (diskimage.Size(e.Size)/cluster + 1) * cluster
	}
	return size + size/32, nil
}

// maxVolumeID is the length of a volume identifier (ECMA-119, 8.4.7).
const maxVolumeID = 32

// CheckVolumeID returns an error for a text that cannot be a volume identifier. The standard wants
// capital letters, digits and underscores (7.4.1). Small letters, dots and dashes are common on live
// media, and no reader is known to refuse them.
func CheckVolumeID(text string) error {
	const more = "._-"
	switch {
	case text == "":
		return errors.New("the volume ID is empty")
	case len(text) > maxVolumeID:
		return fmt.Errorf("the volume ID %q has %d bytes; at most %d are possible", text, len(text), maxVolumeID)
	}
	for _, r := range text {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !strings.ContainsRune(more, r) {
			return fmt.Errorf("the volume ID %q has a %q: use letters, digits and %q", text, r, more)
		}
	}
	return nil
}

// Detect reports whether a disk or its image begins with an ISO 9660 file system.
func Detect(r io.ReaderAt) bool {
	id := make([]byte, len(standardID))
	_, err := r.ReadAt(id, systemArea*BlockSize+1)
	return err == nil && string(id) == standardID
}

// UUID returns what blkid(8), udev and GRUB call the UUID of a file system that was made at a time.
func UUID(made time.Time) string { return made.UTC().Format("2006-01-02-15-04-05") + "-00" }

// Write implements diskimage.Volume, for partition 1.
func (f *filesystem) Write(ctx context.Context, dst io.WriterAt) error {
	meta, err := f.partitionHead()
	if err != nil {
		return err
	}
	if _, err := dst.WriteAt(meta, systemArea*BlockSize); err != nil {
		return fmt.Errorf("write directories: %w", err)
	}
	buf := make([]byte, copyBuffer)
	for _, n := range f.contents {
		if err := n.copy(ctx, dst, buf); err != nil {
			return fmt.Errorf("write %q: %w", n.entry.Name, err)
		}
	}
	return nil
}

// copyBuffer is the length of one write.
const copyBuffer = 1 << 20

// copy writes the content of a file, without its holes.
func (n *node) copy(ctx context.Context, dst io.WriterAt, buf []byte) (err error) {
	content, err := n.entry.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	for _, data := range n.entry.DataRanges() {
		for at, end := data.Offset, data.Offset+data.Length; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buf[:min(int64(len(buf)), end-at)]
			// A reader may return io.EOF together with the last bytes.
			if read, err := content.ReadAt(part, at); read < len(part) {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			if _, err := dst.WriteAt(part, int64(n.block)*BlockSize+at); err != nil {
				return err
			}
			at += int64(len(part))
		}
	}
	return nil
}

// Extents implements diskimage.Volume.
func (f *filesystem) Extents(name string) ([]diskimage.Extent, error) {
	n, ok := f.byName[name]
	if !ok || !n.entry.IsRegular() {
		return nil, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
	}
	if n.entry.Size == 0 {
		return nil, nil
	}
	return []diskimage.Extent{{Offset: int64(n.block) * BlockSize, Length: n.entry.Size}}, nil
}
