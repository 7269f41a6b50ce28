// SPDX-License-Identifier: Apache-2.0

package imagetree_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var rootID, bootID = uuid.UUID{1, 1}, uuid.UUID{2, 2}

// newDisk returns a disk with a separate /boot, and where the contents of files are on it.
func newDisk(t *testing.T) (image fstest.Memory, data []diskimage.Extent, boot diskimage.Size) {
	t.Helper()
	layout, err := diskimage.NewLayout(diskimage.Request{Size: 24 * diskimage.MiB, Table: diskimage.GPT,
		ID: uuid.UUID{9}, Arch: "amd64", Partitions: []diskimage.PartitionRequest{
			{Role: diskimage.RoleBoot, Size: 8 * diskimage.MiB,
				Filesystem: diskimage.Filesystem{Type: "ext4", UUID: bootID, Features: ext.E2fsprogs147}},
			{Role: diskimage.RoleRoot,
				Filesystem: diskimage.Filesystem{Type: "ext4", UUID: rootID, Features: ext.E2fsprogs147}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	fstab := fmt.Sprintf("UUID=%s / ext4 defaults 0 1\nUUID=%s /boot ext4 defaults 0 2\n", rootID, bootID)
	entries := [][]diskimage.Entry{
		{fstest.File("vmlinuz", fstest.Pattern(1, 100_000)), fstest.Dir("grub"), fstest.File("grub/grub.cfg", []byte("x"))},
		{fstest.Dir("boot"), fstest.Dir("etc"), fstest.File("etc/fstab", []byte(fstab)), fstest.Link("link", "etc/fstab")},
	}
	disk := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{}}
	for i, p := range layout.Partitions {
		tree, err := diskimage.Overlay(diskimage.EmptyTree(fstest.Epoch), entries[i]...)
		if err != nil {
			t.Fatal(err)
		}
		volume, err := ext.Formatter{}.Plan(p.Size, p.Filesystem, tree)
		if err != nil {
			t.Fatal(err)
		}
		disk.Volumes[p.Number] = volume
		for _, e := range entries[i] {
			if !e.IsRegular() {
				continue
			}
			extents, err := volume.Extents(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range extents {
				data = append(data, diskimage.Extent{Offset: int64(p.Start) + x.Offset, Length: x.Length})
			}
		}
	}
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Write(t.Context(), f), f.Close()); err != nil {
		t.Fatal(err)
	}
	if image, err = os.ReadFile(name); err != nil {
		t.Fatal(err)
	}
	return image, data, layout.Partitions[0].Start
}

// openDisk opens the system on a disk.
func openDisk(size diskimage.Size) fstest.Open {
	return func(r io.ReaderAt) (diskimage.Tree, error) { return imagetree.Open(r, size) }
}

// As in extread, with the partition table and two file systems (issue 15, 5).
func TestFaultyDiskIsAnErrorOrTheSameTree(t *testing.T) {
	t.Parallel()
	image, data, _ := newDisk(t)
	fstest.TestFlips(t, fstest.Flips{Open: openDisk(diskimage.Size(len(image))), Image: image, Skip: data})
}

// A damaged /boot was left out, and a damaged root made the ESP the whole system (issue 15, 5).
func TestLostFileSystemIsAnError(t *testing.T) {
	t.Parallel()
	image, _, boot := newDisk(t)
	const magic = 0x438
	image[int(boot)+magic] ^= 1
	err := openDisk(diskimage.Size(len(image))).ReadError(image)
	if want := fmt.Sprintf("UUID %s at /boot", bootID); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	image[int(boot)+magic] ^= 1
	image[int(boot)+int(8*diskimage.MiB)+magic] ^= 1
	err = openDisk(diskimage.Size(len(image))).ReadError(image)
	if want := "no file system has /etc/fstab or /etc/os-release"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
