// SPDX-License-Identifier: Apache-2.0

package imagetree

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Whatever a fstab says, a mount point is a place below the root.
func FuzzFstab(f *testing.F) {
	for _, text := range []string{"UUID=1 /boot ext4 defaults 0 2\n", "LABEL=a /../../etc vfat",
		"/dev/sda1 //x/./y/ ext4 a", "/dev/disk/by-uuid/1 / ext4", "PARTUUID=\"", "UUID= / a b\n#"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range mountPoints([]byte(text)) {
			if p.dir == "" || strings.HasPrefix(p.dir, "/") || p.dir == ".." || strings.HasPrefix(p.dir, "../") ||
				strings.HasSuffix(p.dir, "/") {
				t.Errorf("mount point %q", p.dir)
			}
		}
	})
}

// A disk of any content is an error or can be listed; its file systems are those of its partitions.
func FuzzDisk(f *testing.F) {
	for _, s := range signatures {
		f.Add(int64(s.offset), []byte(s.magic))
	}
	f.Add(int64(510), []byte("\x55\xaa"))
	f.Add(int64(446), []byte("\x80\x00\x00\x00\x83\x00\x00\x00\x01\x00\x00\x00\x10\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, offset int64, data []byte) {
		const size = 64 << 10
		disk := make([]byte, size)
		if offset < 0 || offset > size {
			return
		}
		copy(disk[offset:], data)
		r := strings.NewReader(string(disk))
		Holds(r, size)
		d, err := ReadDisk(r, size)
		if err != nil {
			return
		}
		for _, fs := range d.FileSystems {
			if fs.Partition > len(d.Partitions) && len(d.Partitions) == 0 {
				t.Errorf("%s in partition %d of %d", fs.Type, fs.Partition, len(d.Partitions))
			}
		}
		if tree, err := d.System(); err == nil {
			_, _ = diskimage.NewIndex(tree)
		}
	})
}
