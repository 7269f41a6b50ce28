// SPDX-License-Identifier: Apache-2.0

package f2fsread_test

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/f2fsread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var open fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return f2fsread.New(r) }

func TestPromisesOfAReader(t *testing.T) {
	t.Parallel()
	var readers []fstest.Reader
	const inMemory = 1 << 30 // contents are compared there
	rare := slices.DeleteFunc(fstest.Rare(1<<32-1), func(e diskimage.Entry) bool { return e.Size > inMemory })
	for name, tree := range map[string]fstest.Tree{"mixed": fstest.Mixed(), "rare": rare} {
		readers = append(readers, fstest.Reader{
			Writer: fstest.Writer{Name: name, Formatter: f2fs.Formatter{}, Tree: tree, Size: 256 * diskimage.MiB,
				Filesystem: diskimage.Filesystem{Type: "f2fs"}},
			Open: open, ErrNone: f2fsread.ErrNoF2FS, Known: func(*diskimage.Entry) {},
		})
	}
	fstest.TestReader(t, readers...)
}

// sload.f2fs 1.15 leaves out times of links, extended attributes, sockets, devices and hard links, cuts owners to 16
// bits, and damages file systems with flexible_inline_xattr.
func TestFilesOfSloadAreRead(t *testing.T) {
	t.Parallel()
	sload := diskimagetest.Tool(t, "sload.f2fs")
	var tree fstest.Tree
	for _, e := range fstest.Mixed() {
		kind := e.Mode & unix.S_IFMT
		short := kind == unix.S_IFLNK && len(e.Linkname) < 1000
		if e.HardLink == "" && e.UID < 1<<16 && (kind == unix.S_IFREG || kind == unix.S_IFDIR || short) {
			tree = append(tree, e)
		}
	}
	source := fstest.NewDirectory(t, tree)
	for _, features := range []string{"encrypt", "extra_attr,inode_checksum,sb_checksum,inode_crtime"} {
		t.Run(features, func(t *testing.T) {
			t.Parallel()
			image := source.Make(t, 128*diskimage.MiB, func(dir, image string) []string {
				script := diskimagetest.Tool(t, "mkfs.f2fs") + ` -q -l name -O "$1" "$3" && ` + sload + ` -P -f "$2" "$3"`
				return []string{"sh", "-c", script, "sh", features, dir, image}
			})
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fs, err := f2fsread.New(f)
			if err != nil {
				t.Fatal(err)
			}
			if fs.Label() != "name" {
				t.Errorf("label %q", fs.Label())
			}
			fstest.CompareTrees(t, fs, tree, func(e *diskimage.Entry) {
				e.ModTime, e.Xattrs = time.Time{}, nil
			}, "lost+found")
		})
	}
}

// small returns a small file system with all structures.
func small(t testing.TB) fstest.Memory {
	t.Helper()
	image, _ := fstest.NewImage(t, f2fs.Formatter{}, diskimage.Filesystem{Type: "f2fs"}, 64*diskimage.MiB,
		fstest.Small(2100)[1:]...)
	return image
}

func FuzzDamage(f *testing.F) {
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x20 + i, 0, 0x80, 0, 0x30, 0xFF})
	}
	open.Fuzz(f, 1024, 4096, small(f))
}

func TestFileSystemInUseIsRejected(t *testing.T) {
	t.Parallel()
	image := small(t)
	var sb disk.SuperBlock
	disk.Get(image[disk.SuperBlockOffset:], &sb)
	const flags, pack = 0x84, disk.BlocksPerSegment * disk.BlockSize
	first := image[sb.CPAddr*disk.BlockSize:]
	var cp disk.Checkpoint
	disk.Get(first, &cp)
	for _, block := range []uint32{0, cp.PackBlocks - 1} {
		raw := first[block*disk.BlockSize:][:disk.BlockSize]
		raw[flags] &^= disk.CheckpointUnmounted
		sum := ^crc32.Update(^uint32(disk.Magic), crc32.IEEETable, raw[:disk.CheckpointChecksum])
		binary.LittleEndian.PutUint32(raw[disk.CheckpointChecksum:], sum)
	}
	clear(first[pack:][:disk.BlockSize]) // the other pack
	if err := open.ReadError(image); err == nil || !strings.Contains(err.Error(), "not shut down properly") {
		t.Errorf("got %v", err)
	}
}
