package f2fs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/treetest"
)

var testUUID = uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
var testSeed = uuid.MustParse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")

func filesystem() diskimage.Filesystem {
	return diskimage.Filesystem{Type: Type, Label: "rootfs ü 🐧", UUID: testUUID, Seed: testSeed, Time: treetest.Time}
}

// write plans and writes a file system into a new file.
func write(t testing.TB, size diskimage.Size, tree diskimage.Tree) string {
	t.Helper()
	v, err := Formatter{}.Plan(size, filesystem(), tree)
	if err != nil {
		t.Fatalf("plan %s of %s: %v", Type, size, err)
	}
	return treetest.WriteVolume(t, size, v)
}

// smallTree has one of everything.
func smallTree() treetest.Tree {
	hello := treetest.File("etc/hello", []byte("hello, world\n"))
	link := treetest.Link("etc/link", "hello")
	fifo := treetest.Entry("etc/fifo", unix.S_IFIFO|0o600)
	ping := treetest.File("etc/ping", treetest.Pattern(1, 3*disk.BlockSize+5))
	ping.Xattrs = []diskimage.Xattr{{Name: "security.capability", Value: treetest.Capability}}
	odd := treetest.File("etc/odd", nil)
	odd.Mode, odd.UID, odd.GID = unix.S_IFREG|0o7755, 1<<32-2, 70000
	odd.ModTime = time.Date(1905, 1, 2, 3, 4, 5, 6, time.UTC)
	late := treetest.File("etc/late", []byte{0})
	late.ModTime = time.Date(2600, 1, 2, 3, 4, 5, 999999999, time.UTC)
	return treetest.Tree{
		treetest.Dir("."), treetest.Dir("dev"),
		treetest.Device("dev/null", unix.S_IFCHR, 1, 3), treetest.Device("dev/large", unix.S_IFBLK, 300, 70000),
		treetest.Dir("etc"), fifo, treetest.HardLink("etc/fifo2", fifo), hello, treetest.HardLink("etc/hello2", hello), late, link,
		treetest.HardLink("etc/link2", link), treetest.Link("etc/long", strings.Repeat("x/", 2047)+"y"),
		odd, ping, treetest.Entry("etc/socket", unix.S_IFSOCK|0o755),
		treetest.Link("etc/t3488", strings.Repeat("a", disk.InlineDataSize)), treetest.Link("etc/t3489", strings.Repeat("b", disk.InlineDataSize+1)),
		treetest.File("etc/zeros", make([]byte, 3*disk.BlockSize)), treetest.File("etc/\xff\xfe not UTF-8\n", []byte("x")),
		treetest.File("etc/3488", treetest.Pattern(2, disk.InlineDataSize)), treetest.File("etc/3489", treetest.Pattern(3, disk.InlineDataSize+1)),
		treetest.Sparse("hole", 300000, 5000, 8192, 100001), treetest.Sparse("small hole", 3000, 0),
	}
}
