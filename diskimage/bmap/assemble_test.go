// SPDX-License-Identifier: Apache-2.0

package bmap_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/swap"
)

// assemble plans a disk with each kind of file system that we write, and with files that contain
// zeros.
func assemble(t *testing.T) (diskimage.Image, diskimage.Layout) {
	t.Helper()
	id := uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001")
	when := time.Unix(1_700_000_000, 0)
	filesystem := func(fstype string) diskimage.Filesystem {
		return diskimage.Filesystem{Type: fstype, UUID: id, Seed: id, Time: when}
	}
	layout, err := diskimage.NewLayout(diskimage.Request{
		Size: 150 * diskimage.MiB, Table: diskimage.GPT, Arch: "amd64", ID: id,
		Partitions: []diskimage.PartitionRequest{
			{Role: diskimage.RoleESP, Size: 70 * diskimage.MiB, Filesystem: filesystem("vfat")},
			{Role: diskimage.RoleBoot, Size: 20 * diskimage.MiB, Filesystem: filesystem("ext2")},
			{Role: diskimage.RoleRoot, Filesystem: filesystem("ext4")},
			{Role: diskimage.RoleSwap, Size: 10 * diskimage.MiB, Filesystem: filesystem("swap")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("begin" + strings.Repeat("\x00", 100_000) + "end")
	tree, err := diskimage.Overlay(diskimage.EmptyTree(when), diskimage.FileEntry("zeros", 0o644, content, when),
		diskimage.FileEntry("text", 0o644, []byte(strings.Repeat("text", 100_000)), when))
	if err != nil {
		t.Fatal(err)
	}
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{}}
	formatters := map[string]diskimage.Formatter{
		"vfat": fat.Formatter{}, "ext2": ext.Formatter{}, "ext4": ext.Formatter{}, "swap": swap.Formatter{},
	}
	for _, p := range layout.Partitions {
		volume, err := formatters[p.Filesystem.Type].Plan(p.Size, p.Filesystem, tree)
		if err != nil {
			t.Fatal(err)
		}
		if _, knows := volume.(diskimage.UsedSpace); !knows {
			t.Errorf("%s does not know its free space", p.Filesystem.Type)
		}
		image.Volumes[p.Number] = volume
	}
	return image, layout
}
