// SPDX-License-Identifier: Apache-2.0

package fat_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
)

// The EFI shell in the firmware runs startup.nsh from the EFI system partition, which is a FAT12 at
// its default size.
func TestFirmwareReadsFAT(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute in software emulation")
	}
	layout, err := diskimage.NewLayout(diskimage.Request{
		Size: 8 * diskimage.MiB, Table: diskimage.GPT, ID: id,
		Partitions: []diskimage.PartitionRequest{{Role: diskimage.RoleESP,
			Filesystem: diskimage.Filesystem{Type: "vfat", UUID: id}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	esp := layout.Partitions[0]
	files := map[string]string{
		"startup.nsh":                    "fs0:\r\ntype \"\\a directory\\Some Long Name.txt\"\r\n",
		"a directory/Some Long Name.txt": "the long name was found\r\n",
	}
	volume, err := fat.Formatter{}.Plan(esp.Size, esp.Filesystem, tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "disk.img")
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{esp.Number: volume}}
	err = diskimage.WriteFile(t.Context(), name, 0o644, func(f *os.File) error { return image.Write(t.Context(), f) })
	if err != nil {
		t.Fatal(err)
	}
	diskimagetest.Fsck(t, name, int64(esp.Start), int64(esp.Size))
	diskimagetest.Boot(t, name, diskimagetest.BootOptions{
		Firmware: diskimagetest.UEFI, Want: "the long name was found", Timeout: 2 * time.Minute,
		Args: []string{"-net", "none"},
	})
}
