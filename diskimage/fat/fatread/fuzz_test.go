// SPDX-License-Identifier: Apache-2.0

package fatread_test

import (
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func FuzzDamage(f *testing.F) {
	var images []fstest.Memory
	for _, size := range []diskimage.Size{
		2 * diskimage.MiB, 17 * diskimage.MiB, 34 * diskimage.MiB, // FAT12, FAT16, FAT32
	} {
		var entries []diskimage.Entry
		for name, data := range files() {
			entries = append(entries, diskimage.FileEntry(name, 0o644, data, written))
		}
		image, _ := fstest.NewImage(f, fat.Formatter{}, diskimage.Filesystem{}, size, entries...)
		images = append(images, image)
	}
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x0b + i, 0, 0x80, 0, 0x24, 0xFF})
	}
	open.Fuzz(f, 0, 90, images...)
}
