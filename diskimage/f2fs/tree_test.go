// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var testUUID = uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
var testSeed = uuid.MustParse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")

func filesystem() diskimage.Filesystem {
	return diskimage.Filesystem{Type: Type, Label: "rootfs ü 🐧", UUID: testUUID, Seed: testSeed, Time: fstest.Time}
}

// write plans and writes a file system into a new file.
func write(t testing.TB, size diskimage.Size, tree diskimage.Tree) string {
	t.Helper()
	v, err := Formatter{}.Plan(size, filesystem(), tree)
	if err != nil {
		t.Fatalf("plan %s of %s: %v", Type, size, err)
	}
	return fstest.WriteVolume(t, size, v)
}

// smallTree has one of everything.
func smallTree() fstest.Tree {
	hello := fstest.File("etc/hello", []byte("hello, world\n"))
	link := fstest.Link("etc/link", "hello")
	fifo := fstest.Entry("etc/fifo", unix.S_IFIFO|0o600)
	ping := fstest.File("etc/ping", fstest.Pattern(1, 3*disk.BlockSize+5))
	ping.Xattrs = []diskimage.Xattr{{Name: "security.capability", Value: fstest.Capability}}
	odd := fstest.File("etc/odd", nil)
	odd.Mode, odd.UID, odd.GID = unix.S_IFREG|0o7755, 1<<32-2, 70000
	odd.ModTime = time.Date(1905, 1, 2, 3, 4, 5, 6, time.UTC)
	late := fstest.File("etc/late", []byte{0})
	late.ModTime = time.Date(2600, 1, 2, 3, 4, 5, 999999999, time.UTC)
	return fstest.Tree{
		fstest.Dir("."), fstest.Dir("dev"),
		fstest.Device("dev/null", unix.S_IFCHR, 1, 3), fstest.Device("dev/large", unix.S_IFBLK, 300, 70000),
		fstest.Dir("etc"), fifo, fstest.HardLink("etc/fifo2", fifo), hello, fstest.HardLink("etc/hello2", hello),
		late, link,
		fstest.HardLink("etc/link2", link), fstest.Link("etc/long", strings.Repeat("x/", 2047)+"y"),
		odd, ping, fstest.Entry("etc/socket", unix.S_IFSOCK|0o755),
		fstest.Link("etc/t3488", strings.Repeat("a", disk.InlineDataSize)),
		fstest.Link("etc/t3489", strings.Repeat("b", disk.InlineDataSize+1)),
		fstest.File("etc/zeros", make([]byte, 3*disk.BlockSize)), fstest.File("etc/\xff\xfe not UTF-8\n", []byte("x")),
		fstest.File("etc/3488", fstest.Pattern(2, disk.InlineDataSize)),
		fstest.File("etc/3489", fstest.Pattern(3, disk.InlineDataSize+1)),
		fstest.Sparse("hole", 300000, 5000, 8192, 100001), fstest.Sparse("small hole", 3000, 0),
	}
}
