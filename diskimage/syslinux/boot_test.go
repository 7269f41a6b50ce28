package syslinux_test

import (
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

// TestBootCodeReachesTheConfiguration boots images that hold nothing but syslinux and a line to print: a second each, for
// every kind of file system and table, and both names of the configuration.
func TestBootCodeReachesTheConfiguration(t *testing.T) {
	t.Parallel()
	const small = 64 * diskimage.MiB
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
	for _, tt := range []struct {
		name, fstype, features, config, mbr string
		table                               diskimage.TableKind
		flag                                string
		formatter                           diskimage.Formatter
		size                                diskimage.Size
	}{
		{"ext4 on msdos", "ext4", "bookworm", "extlinux.conf", "mbr.bin", diskimage.MSDOS, "boot", ext.Formatter{}, small},
		{"ext4 of trixie on gpt", "ext4", "trixie", "extlinux.conf", "gptmbr.bin", diskimage.GPT, "legacy_boot", ext.Formatter{}, small},
		{"ext3 on msdos", "ext3", "bookworm", "extlinux.conf", "mbr.bin", diskimage.MSDOS, "boot", ext.Formatter{}, small},
		{"ext2 on msdos", "ext2", "bookworm", "extlinux.conf", "mbr.bin", diskimage.MSDOS, "boot", ext.Formatter{}, small},
		{"FAT16 on msdos", "vfat", "", "syslinux.cfg", "mbr.bin", diskimage.MSDOS, "boot", fat.Formatter{}, small},
		{"FAT32 on gpt", "vfat", "", "extlinux.conf", "gptmbr.bin", diskimage.GPT, "legacy_boot", fat.Formatter{}, 2 * diskimage.FAT32From(diskimage.SectorSize)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1_700_000_000, 0)
			layout, err := diskimage.NewLayout(diskimage.Request{
				Size: tt.size, Table: tt.table, ID: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11"),
				Partitions: []diskimage.PartitionRequest{{Role: diskimage.RoleRoot, Flags: []string{tt.flag}, Filesystem: diskimage.Filesystem{
					Type: tt.fstype, Features: tt.features, Time: now, UUID: uuid.MustParse("0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12"),
				}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			part := layout.Partitions[0]
			const marker = "MARK-OF-THE-CONFIGURATION"
			tree, err := diskimage.Overlay(diskimage.EmptyTree(now),
				diskimage.FileEntry("ldlinux.sys", 0o444, loader.File(), now),
				diskimage.FileEntry("ldlinux.c32", 0o444, read("/usr/lib/syslinux/modules/bios/ldlinux.c32"), now),
				// A kernel that is not there keeps the machine at the prompt, after the line was printed.
				diskimage.FileEntry(tt.config, 0o644, []byte("say "+marker+"\ndefault none\nlabel none\n\tkernel /none\n"), now),
			)
			if err != nil {
				t.Fatal(err)
			}
			volume, err := tt.formatter.Plan(part.Size, part.Filesystem, diskimage.Dense(tree, func(string) bool { return true }))
			if err != nil {
				t.Fatal(err)
			}
			extents, err := volume.Extents("ldlinux.sys")
			if err != nil {
				t.Fatal(err)
			}
			patches, file, err := loader.Install(syslinux.Placement{
				StartLBA: part.StartLBA(), Sectors: part.Sectors(), File: extents, Directory: "/", FAT: tt.fstype == "vfat",
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range extents {
				n := min(e.Length, int64(len(file)))
				patches = append(patches, diskimage.Patch{Offset: int64(part.Start) + e.Offset, Data: file[:n], What: "ldlinux.sys"})
				file = file[n:]
			}
			code, err := syslinux.MBRCode(read("/usr/lib/syslinux/mbr/" + tt.mbr))
			if err != nil {
				t.Fatal(err)
			}
			image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{part.Number: volume}, Patches: append(patches, code)}
			name := filepath.Join(t.TempDir(), "disk.img")
			if err := diskimage.WriteFile(t.Context(), name, 0o644, func(f *os.File) error { return image.Write(t.Context(), f) }); err != nil {
				t.Fatal(err)
			}
			if tt.fstype != "vfat" {
				diskimagetest.Fsck(t, name, int64(part.Start), int64(part.Size))
			}
			diskimagetest.Boot(t, name, diskimagetest.BootOptions{Want: marker, Timeout: time.Minute})
		})
	}
}
