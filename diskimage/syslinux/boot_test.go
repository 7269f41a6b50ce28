// SPDX-License-Identifier: Apache-2.0

package syslinux_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// TestBootCodeReachesTheConfiguration boots images that contain only syslinux and a line to print:
// one second each, for each kind of file system, table and location of /boot.
func TestBootCodeReachesTheConfiguration(t *testing.T) {
	t.Parallel()
	diskimagetest.File(t, "/usr/bin/extlinux")
	const small, tiny = 24 * diskimage.MiB, 8 * diskimage.MiB
	fat32 := 2 * diskimage.FAT32From(diskimage.SectorSize)
	ext2, ext3 := diskimage.Filesystem{Type: "ext2", Features: "1.44"},
		diskimage.Filesystem{Type: "ext3", Features: "1.44"}
	bookworm, trixie := diskimage.Filesystem{Type: "ext4", Features: "1.44"},
		diskimage.Filesystem{Type: "ext4", Features: "1.47"}
	vfat := diskimage.Filesystem{Type: "vfat"}
	for _, tt := range []struct {
		name     string
		fs       diskimage.Filesystem
		size     diskimage.Size
		separate bool // /boot is a partition
	}{
		{"ext2", ext2, small, false},
		{"ext3", ext3, small, false},
		{"ext4 of bookworm", bookworm, small, false},
		{"ext4 of trixie", trixie, small, false},
		{"ext2 boot", ext2, small, true},
		{"ext3 boot", ext3, small, true},
		{"ext4 boot of bookworm", bookworm, small, true},
		{"ext4 boot of trixie", trixie, small, true},
		{"FAT12 boot", vfat, tiny, true},
		{"FAT16 boot", vfat, small, true},
		{"FAT32 boot", vfat, fat32, true},
	} {
		for _, table := range []diskimage.TableKind{diskimage.MSDOS, diskimage.GPT} {
			t.Run(fmt.Sprintf("%s on %s", tt.name, table), func(t *testing.T) {
				fs := tt.fs
				fs.Time, fs.UUID = time.Unix(1_700_000_000, 0), uuid.MustParse("0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12")
				start := diskimage.PartitionRequest{Role: diskimage.RoleRoot, Size: 0, Flags: []string{"boot"},
					Filesystem: fs}
				if table == diskimage.GPT {
					start.Flags = []string{"legacy_boot"}
				}
				request := diskimage.Request{Size: tt.size + 4*diskimage.MiB, Table: table,
					ID: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11")}
				if tt.separate {
					start.Role, start.Size = diskimage.RoleBoot, tt.size
					request.Partitions = []diskimage.PartitionRequest{start, {Role: diskimage.RoleRoot}}
				} else {
					request.Partitions = []diskimage.PartitionRequest{start}
				}
				layout, err := diskimage.NewLayout(request)
				if err != nil {
					t.Fatal(err)
				}
				name := writeSyslinux(t, layout)
				part := layout.Partitions[0]
				diskimagetest.Fsck(t, name, int64(part.Start), int64(part.Size))
				diskimagetest.Boot(t, name, diskimagetest.BootOptions{Want: marker, Timeout: time.Minute})
			})
		}
	}
}

// marker is what the images print.
const marker = "MARK-OF-THE-CONFIGURATION"

// writeSyslinux writes an image whose first partition is a file system with syslinux, and returns
// its name.
func writeSyslinux(t *testing.T, layout diskimage.Layout) string {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(diskimagetest.File(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	loader, err := syslinux.Extract(read("/usr/bin/extlinux"))
	if err != nil {
		t.Fatal(err)
	}
	part := layout.Partitions[0]
	now := part.Filesystem.Time
	tree, err := diskimage.Overlay(diskimage.EmptyTree(now),
		diskimage.DirEntry("boot", 0o755, now),
		diskimage.FileEntry("boot/included-with-a-long-name.conf", 0o644, []byte("say "+marker+"\n"), now),
		diskimage.FileEntry("ldlinux.sys", 0o444, loader.File(), now),
		diskimage.FileEntry("ldlinux.c32", 0o444, read("/usr/lib/syslinux/modules/bios/ldlinux.c32"), now),
		// A missing kernel keeps the machine at the prompt, after the line was printed.
		diskimage.FileEntry(syslinux.ConfigName, 0o644,
			[]byte("include /boot/included-with-a-long-name.conf\ndefault none\nlabel none\n\tkernel /none\n"), now),
	)
	if err != nil {
		t.Fatal(err)
	}
	var formatter diskimage.Formatter = ext.Formatter{}
	mbr := "mbr.bin"
	if part.Filesystem.Type == "vfat" {
		formatter = fat.Formatter{}
	}
	if layout.Table == diskimage.GPT {
		mbr = "gptmbr.bin"
	}
	volume, err := formatter.Plan(part.Size, part.Filesystem, diskimage.Dense(tree, func(string) bool { return true }))
	if err != nil {
		t.Fatal(err)
	}
	extents, err := volume.Extents("ldlinux.sys")
	if err != nil {
		t.Fatal(err)
	}
	place := syslinux.Placement{StartLBA: part.StartLBA(), Sectors: part.Sectors(), File: extents, Directory: "/"}
	if part.Filesystem.Type == "vfat" {
		place.FAT, place.Copy = true, fat.BootSectorCopy(part.Size, part.SectorSize)
	}
	patches, file, err := loader.Install(place)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		n := min(e.Length, int64(len(file)))
		patches = append(patches, diskimage.Patch{Offset: int64(part.Start) + e.Offset, Data: file[:n],
			What: "ldlinux.sys"})
		file = file[n:]
	}
	code, err := syslinux.MBRCode(read("/usr/lib/syslinux/mbr/" + mbr))
	if err != nil {
		t.Fatal(err)
	}
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{part.Number: volume},
		Patches: append(patches, code)}
	name := filepath.Join(t.TempDir(), "disk.img")
	if err := diskimage.WriteFile(t.Context(), name, 0o644,
		func(f *os.File) error { return image.Write(t.Context(), f) }); err != nil {
		t.Fatal(err)
	}
	return name
}
