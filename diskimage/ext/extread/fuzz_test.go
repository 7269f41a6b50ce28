// SPDX-License-Identifier: Apache-2.0

package extread_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func FuzzDamage(f *testing.F) {
	var images []fstest.Memory
	for _, kind := range []diskimage.Filesystem{
		{Type: "ext2"}, {Type: "ext4", Features: "1.42"}, {Type: "ext4", Features: "1.47"},
	} {
		image, _ := damageable(f, kind)
		images = append(images, image)
	}
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0xFE, 0xFF, i * 40, 0x80, 0xFF, 0xFF, 0xFF})
	}
	open.Fuzz(f, 1024, 2048, images...)
}

// damageable returns a small file system with all structures that a reader may misunderstand, and
// where the contents of files and the texts of links are in it.
func damageable(t testing.TB, kind diskimage.Filesystem) (fstest.Memory, []diskimage.Extent) {
	t.Helper()
	text := strings.Repeat("x", 100)
	entries := []diskimage.Entry{
		diskimage.FileEntry("etc/passwd", 0o644, bytes.Repeat([]byte("root"), 60_000), fstest.Epoch),
		{Name: "link", Mode: unix.S_IFLNK | 0o777, Linkname: text},
		{Name: "null", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 3},
	}
	for i := range 400 { // a directory with an index
		e := diskimage.FileEntry(fmt.Sprintf("many/%030d", i), 0o644, []byte{byte(i)}, fstest.Epoch)
		if i%20 == 0 {
			e.Xattrs = []diskimage.Xattr{{Name: "user.a", Value: bytes.Repeat([]byte("v"), i)}}
		}
		entries = append(entries, e)
	}
	image, data := fstest.NewImage(t, ext.Formatter{}, kind, 9*diskimage.MiB, entries...)
	return image, append(data, diskimage.Extent{Offset: int64(bytes.Index(image, []byte(text))), Length: int64(len(text))})
}
