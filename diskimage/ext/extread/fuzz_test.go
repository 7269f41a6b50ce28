// SPDX-License-Identifier: Apache-2.0

package extread_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// FuzzDamage reads file systems in which some bytes were changed. Reading must end, with or without
// an error.
func FuzzDamage(f *testing.F) {
	kinds := []diskimage.Filesystem{{Type: "ext2"}, {Type: "ext4", Features: "1.42"}, {Type: "ext4", Features: "1.47"}}
	var images []fstest.Memory
	var used [][]int
	for _, kind := range kinds {
		image := damageable(f, kind)
		var offsets []int
		for i, b := range image {
			if b != 0 {
				offsets = append(offsets, i)
			}
		}
		images, used = append(images, image), append(used, offsets)
	}
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0xFE, 0xFF, i * 40, 0x80, 0xFF, 0xFF, 0xFF})
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		n := int(which) % len(images)
		bad := bytes.Clone(images[n])
		for ; len(data) >= 4 && len(data) <= 4*64; data = data[4:] { // offset and value
			offset := int(data[0])<<16 | int(data[1])<<8 | int(data[2])
			if data[0] < 0x80 {
				offset = used[n][offset%len(used[n])]
			} else {
				offset = 1024 + offset%1024 // in the superblock
			}
			bad[offset] = data[3]
		}
		fs, err := extread.New(bytes.NewReader(bad))
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

// damageable returns a small file system with all structures that a reader may misunderstand.
func damageable(t testing.TB, kind diskimage.Filesystem) fstest.Memory {
	t.Helper()
	epoch := time.Unix(0, 0)
	entries := []diskimage.Entry{
		diskimage.FileEntry("etc/passwd", 0o644, bytes.Repeat([]byte("root"), 60_000), epoch),
		{Name: "link", Mode: unix.S_IFLNK | 0o777, Linkname: strings.Repeat("x", 100)},
		{Name: "null", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 3},
	}
	for i := range 400 { // a directory with an index
		e := diskimage.FileEntry(fmt.Sprintf("many/%030d", i), 0o644, []byte{byte(i)}, epoch)
		if i%20 == 0 {
			e.Xattrs = []diskimage.Xattr{{Name: "user.a", Value: bytes.Repeat([]byte("v"), i)}}
		}
		entries = append(entries, e)
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(epoch), entries...)
	if err != nil {
		t.Fatal(err)
	}
	const size = 9 * diskimage.MiB
	volume, err := ext.Formatter{}.Plan(size, kind, tree)
	if err != nil {
		t.Fatal(err)
	}
	image := fstest.Memory(make([]byte, size))
	if err := volume.Write(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	return image
}
