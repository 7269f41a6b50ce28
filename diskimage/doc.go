// SPDX-License-Identifier: Apache-2.0

// Package diskimage writes disk images: a partition table, file systems filled from a tree of files, and boot
// code, into an ordinary file. Nothing is mounted, no loop device is used, no program is run, and no
// privileges are needed.
//
// It is used in three steps; only the last one writes:
//
//  1. NewLayout turns a Request (sizes and roles of partitions) into a Layout (where everything is).
//  2. A Formatter per partition plans a file system from a Tree: packages diskimage/ext (ext2, ext3, ext4),
//     diskimage/f2fs, diskimage/fat and diskimage/swap, or diskimage/formatters by the name of the type. Planning
//     fails if the tree does not fit (NoSpaceError). The plan knows where on the disk each file will be
//     (Volume.Extents), for boot loaders.
//  3. Image.Write writes table, file systems, blobs and patches. WriteFile provides a file that appears under its name
//     only when it is complete. Package diskimage/format writes the same disk as qcow2, vmdk, vhd, vhdx or vdi, or as
//     several of them at once, and diskimage/bmap writes a block map for bmaptool.
//
// Three short programs follow. The first makes an ext4 file system of a directory, with 100 MiB
// free:
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os"
//		"time"
//
//		"github.com/google/uuid"
//
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage"
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
//	)
//
//	func main() {
//		ctx, tree := context.Background(), diskimage.NewDirTree(os.Args[1])
//		fs := diskimage.Filesystem{Type: "ext4", Features: ext.E2fsprogs144, UUID: uuid.New(), Seed: uuid.New(), Time: time.Now()}
//		size, err := ext.MinimumSize(fs, tree, 100*diskimage.MiB)
//		if err != nil {
//			log.Fatal(err)
//		}
//		volume, err := ext.Formatter{}.Plan(size, fs, tree)
//		if err != nil {
//			log.Fatal(err)
//		}
//		err = diskimage.WriteFile(ctx, os.Args[2], 0o666, func(f *os.File) error {
//			if err := f.Truncate(int64(size)); err != nil {
//				return err
//			}
//			return volume.Write(ctx, f)
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//	}
//
// The second makes a disk of 2 GiB from a tar archive, without unpacking it. The suffix of the
// image's name selects the format:
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os"
//		"path/filepath"
//		"time"
//
//		"github.com/google/uuid"
//
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage"
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
//	)
//
//	func main() {
//		if err := write(context.Background(), os.Args[1], os.Args[2]); err != nil {
//			log.Fatal(err)
//		}
//	}
//
//	func write(ctx context.Context, archive, name string) error {
//		layout, err := diskimage.NewLayout(diskimage.Request{
//			Size: 2 * diskimage.GiB, Table: diskimage.GPT, Arch: "amd64", ID: uuid.New(),
//			Partitions: []diskimage.PartitionRequest{
//				{Role: diskimage.RoleRoot, Filesystem: diskimage.Filesystem{Type: "ext4", UUID: uuid.New(), Time: time.Now()}},
//			},
//		})
//		if err != nil {
//			return err
//		}
//		in, err := os.Open(archive)
//		if err != nil {
//			return err
//		}
//		defer in.Close()
//		info, err := in.Stat()
//		if err != nil {
//			return err
//		}
//		tree, err := diskimage.NewTarTree(in, info.Size())
//		if err != nil {
//			return err
//		}
//		root := layout.Partitions[0]
//		volume, err := ext.Formatter{}.Plan(root.Size, root.Filesystem, tree)
//		if err != nil {
//			return err
//		}
//		kind, _ := format.BySuffix(name)
//		image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{root.Number: volume}}
//		return diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
//			return format.Write(ctx, []format.Output{{File: f, Format: kind}}, filepath.Dir(name), image)
//		})
//	}
//
// The third lists the files in a raw image:
//
//	package main
//
//	import (
//		"fmt"
//		"log"
//		"os"
//
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage"
//		"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
//	)
//
//	func main() {
//		image, err := os.Open(os.Args[1])
//		if err != nil {
//			log.Fatal(err)
//		}
//		info, err := image.Stat()
//		if err != nil {
//			log.Fatal(err)
//		}
//		tree, err := imagetree.Open(image, diskimage.Size(info.Size()))
//		if err != nil {
//			log.Fatal(err)
//		}
//		for entry, err := range tree.Entries() {
//			if err != nil {
//				log.Fatal(err)
//			}
//			fmt.Printf("%7o %9d %s\n", entry.Mode, entry.Size, entry.Name)
//		}
//	}
//
// The examples show more: a FAT and a swap area from memory (Image.Write), a disk that is as large
// as its content needs (TarToQcow2), room for a board's firmware (Layout.CheckFree). Boot loaders
// are in diskimage/grub and diskimage/syslinux.
//
// The packages need neither the rest of vmdebootstrap nor build tags nor cgo. The caller provides
// the bytes of patches, blobs and boot code.
//
// A Tree is the source of files. NewDirTree reads a directory, NewTarTree an archive and
// NewLayerTree the layers of a container image, without unpacking them; EmptyTree, FileEntry and
// similar functions make one in memory. Overlay, Filter, Subtree, Clamp and Dense derive one tree
// from another while it is read. Owners, modes, times to the nanosecond, extended attributes, hard
// links, devices and holes are kept.
//
// The same input produces the same bytes: trees are sorted, every ID and time is an argument (see
// DeriveID), and no code depends on the clock, the environment or random numbers.
//
// Trees may be hostile. No symbolic link in one is followed on the host, and no name leads out of
// the tree.
//
// Package diskimage/luks encrypts a file system while it is written, as LUKS2. Package
// diskimage/verity makes the hash tree with which the kernel verifies one.
//
// Not supported: logical partitions, LVM and RAID; sector sizes other than 512 and 4096
// bytes; changing an existing image. The msdos and gpt tables are encoded by go-diskfs; its file
// system writers are not used.
package diskimage
