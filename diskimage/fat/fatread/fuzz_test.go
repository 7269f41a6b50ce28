// SPDX-License-Identifier: Apache-2.0

package fatread_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat/fatread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// FuzzDamage reads file systems in which some bytes were changed. Reading must end, with or without
// an error.
func FuzzDamage(f *testing.F) {
	var images []fstest.Memory
	var used [][]int
	for _, size := range []diskimage.Size{2 * diskimage.MiB, 17 * diskimage.MiB,
		34 * diskimage.MiB} { // FAT12, FAT16, FAT32
		var entries []diskimage.Entry
		for name, data := range files() {
			entries = append(entries, diskimage.FileEntry(name, 0o644, data, written))
		}
		tree, err := diskimage.Overlay(diskimage.EmptyTree(written), entries...)
		if err != nil {
			f.Fatal(err)
		}
		volume, err := fat.Formatter{}.Plan(size, diskimage.Filesystem{}, tree)
		if err != nil {
			f.Fatal(err)
		}
		image := fstest.Memory(make([]byte, size))
		if err := volume.Write(f.Context(), image); err != nil {
			f.Fatal(err)
		}
		var offsets []int
		for i, b := range image {
			if b != 0 {
				offsets = append(offsets, i)
			}
		}
		images, used = append(images, image), append(used, offsets)
	}
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x0b + i, 0, 0x80, 0, 0x24, 0xFF})
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		n := int(which) % len(images)
		bad := bytes.Clone(images[n])
		for ; len(data) >= 4 && len(data) <= 4*64; data = data[4:] { // offset and value
			offset := int(data[0])<<16 | int(data[1])<<8 | int(data[2])
			if data[0] < 0x80 {
				offset = used[n][offset%len(used[n])]
			} else {
				offset %= 90 // in the boot sector's parameters
			}
			bad[offset] = data[3]
		}
		fs, err := fatread.New(bytes.NewReader(bad))
		if err != nil {
			return
		}
		entries := 0
		for e, err := range fs.Entries() {
			if entries++; err != nil || entries > 2000 {
				break
			}
			if e.Open == nil || e.Size > 1<<22 {
				continue
			}
			if c, err := e.Open(); err == nil {
				_, _ = io.Copy(io.Discard, io.NewSectionReader(c, 0, e.Size))
				c.Close()
			}
		}
	})
}
