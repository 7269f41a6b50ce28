// SPDX-License-Identifier: Apache-2.0

package diskimage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/formatters"
)

// NewLayout computes where the partitions of a disk go.
func ExampleNewLayout() {
	layout, err := diskimage.NewLayout(diskimage.Request{
		Size:  4 * diskimage.GiB,
		Table: diskimage.GPT,
		Arch:  "amd64",
		ID:    uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001"),
		Partitions: []diskimage.PartitionRequest{
			{Role: diskimage.RoleESP, Size: 128 * diskimage.MiB, Filesystem: diskimage.Filesystem{Type: "vfat"}},
			{Role: diskimage.RoleRoot, Filesystem: diskimage.Filesystem{Type: "ext4"}, Label: "root"},
			{Role: diskimage.RoleSwap, Size: 512 * diskimage.MiB},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range layout.Partitions {
		fmt.Printf("%-18s %7s at %7s\n", p, p.Size, p.Start)
	}
	// Output:
	// partition 1 (esp)   128MiB at    1MiB
	// partition 2 (root) 3454MiB at  129MiB
	// partition 3 (swap)  512MiB at 3583MiB
}

// A disk with a FAT and a swap area.
func ExampleImage_Write() {
	id := uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001")
	epoch := time.Unix(1700000000, 0)
	image, err := makeImage(id, epoch)
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "disk.img")
	ctx := context.Background()
	err = diskimage.WriteFile(ctx, name, 0o644, func(f *os.File) error { return image.Write(ctx, f) })
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := os.Stat(name)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(info.Mode(), diskimage.Size(info.Size()))
	// Output: -rw-r--r-- 100MiB
}

// makeImage plans everything and writes nothing.
func makeImage(id uuid.UUID, epoch time.Time) (diskimage.Image, error) {
	tree, err := diskimage.Overlay(diskimage.EmptyTree(epoch),
		diskimage.FileEntry("EFI/BOOT/BOOTX64.EFI", 0o644, []byte("a boot loader"), epoch))
	if err != nil {
		return diskimage.Image{}, err
	}
	layout, err := diskimage.NewLayout(diskimage.Request{
		Size: 100 * diskimage.MiB, Table: diskimage.MSDOS, ID: id,
		Partitions: []diskimage.PartitionRequest{
			{Role: diskimage.RoleESP, Filesystem: diskimage.Filesystem{Type: "vfat", Label: "ESP", UUID: id,
				Time: epoch}},
			{Role: diskimage.RoleSwap, Size: 10 * diskimage.MiB,
				Filesystem: diskimage.Filesystem{Type: "swap", UUID: id}},
		},
	})
	if err != nil {
		return diskimage.Image{}, err
	}
	image := diskimage.Image{Layout: layout, Volumes: make(map[int]diskimage.Volume)}
	for _, p := range layout.Partitions {
		f, err := formatters.ByType(p.Filesystem.Type)
		if err != nil {
			return diskimage.Image{}, fmt.Errorf("plan %s: %w", p, err)
		}
		volume, err := f.Plan(p.Size, p.Filesystem, tree)
		if err != nil {
			return diskimage.Image{}, fmt.Errorf("plan %s: %w", p, err)
		}
		image.Volumes[p.Number] = volume
	}
	return image, nil
}

// A plan reports by how much a file system is too small before anything is written.
func ExampleNoSpaceError() {
	epoch := time.Unix(1700000000, 0)
	tree, err := diskimage.Overlay(diskimage.EmptyTree(epoch),
		diskimage.FileEntry("EFI/Linux/debian.efi", 0o644, make([]byte, 40<<20), epoch))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = fat.Formatter{}.Plan(32*diskimage.MiB, diskimage.Filesystem{}, tree)
	if space := new(diskimage.NoSpaceError); errors.As(err, &space) {
		fmt.Println(strings.ReplaceAll(space.Error(), ": ", ":\n"))
	}
	// Output:
	// not enough clusters of 2048 bytes:
	// 20482 needed, 16343 available:
	// the file system must grow by at least 9 MiB
}
