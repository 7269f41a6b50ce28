// SPDX-License-Identifier: Apache-2.0

package fatread_test

import (
	"encoding/binary"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// Damage of the FATs, and of a boot sector that has a copy, is found although there are no checksums
// (issue 15, 5). Directories have neither copies nor checksums.
func TestFaultyFATIsAnErrorOrTheSameTree(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]diskimage.Size{
		"FAT12": 2 * diskimage.MiB, "FAT16": 17 * diskimage.MiB, "FAT32": 34 * diskimage.MiB,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var entries []diskimage.Entry
			for name, data := range files() {
				entries = append(entries, diskimage.FileEntry(name, 0o644, data, written))
			}
			image, _ := fstest.NewImage(t, fat.Formatter{}, diskimage.Filesystem{Type: "vfat"}, size, entries...)
			le := binary.LittleEndian
			reserved, copies := int64(le.Uint16(image[0x0e:])), int64(image[0x10])
			sectors := int64(le.Uint16(image[0x16:]))
			if sectors == 0 {
				sectors = int64(le.Uint32(image[0x24:]))
			}
			const sector = 512
			only := []diskimage.Extent{{Offset: reserved * sector, Length: copies * sectors * sector}}
			if name == "FAT32" {
				only = append(only, diskimage.Extent{Length: sector})
			}
			fstest.TestFlips(t, fstest.Flips{Open: open, Image: image, Only: only})
		})
	}
}

// The end of a file whose image was cut was read as zeros.
func TestFileBeyondTheEndOfTheImageIsAnError(t *testing.T) {
	t.Parallel()
	image := newImage(t, diskimage.FileEntry("data", 0o644, fstest.Pattern(1, 1<<20), written))
	if err := open.ContentError(image[:len(image)/40]); err == nil {
		t.Error("got no error")
	}
}
