// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// TestPromisesOfAFormatter is not parallel, see fstest.TestWriter.
func TestPromisesOfAFormatter(t *testing.T) {
	fstest.TestWriter(t,
		fstest.Writer{Name: "f2fs", Formatter: Formatter{}, Filesystem: filesystem(), Tree: adversarialTree(),
			Size: 128 * diskimage.MiB, Invalid: invalidTrees()},
		fstest.Writer{Name: "small", Formatter: Formatter{}, Filesystem: filesystem(), Tree: smallTree(),
			Size: 64 * diskimage.MiB},
	)
}

func TestTooLittleSpaceIsKnownBeforeWriting(t *testing.T) {
	t.Parallel()
	solid := fstest.Tree{fstest.Dir("."),
		{Name: "a", Mode: unix.S_IFREG, Size: 100e6, Open: fstest.Content(bytes.NewReader(nil))}}
	tests := []struct {
		name string
		size diskimage.Size
		tree fstest.Tree
	}{
		{"nothing", 4095, smallTree()},
		{"no areas", 20 * diskimage.MiB, smallTree()},
		{"nothing left", 50 * diskimage.MiB, smallTree()},
		{"data", 128 * diskimage.MiB, solid},
		{"nodes", 64 * diskimage.MiB, append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 5000, 3)...)},
	}
	for _, tt := range tests {
		_, err := Formatter{}.Plan(tt.size, filesystem(), tt.tree)
		var noSpace *diskimage.NoSpaceError
		if !errors.As(err, &noSpace) {
			t.Errorf("%s: got %v, want a NoSpaceError", tt.name, err)
			continue
		}
		if noSpace.Needed <= noSpace.Available || noSpace.What != "blocks" || noSpace.BlockSize != disk.BlockSize {
			t.Errorf("%s: %+v", tt.name, *noSpace)
		}
	}
}

func TestMinimumSizeIsEnoughAndNotMuchMore(t *testing.T) {
	t.Parallel()
	trees := map[string]fstest.Tree{
		"empty":       {fstest.Dir(".")},
		"adversarial": adversarialTree(),
		"many inodes": append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 5000, 10)...),
		"600 MB": {fstest.Dir("."),
			{Name: "a", Mode: unix.S_IFREG, Size: 600e6, Open: fstest.Content(bytes.NewReader(nil))}},
	}
	for name, tree := range trees {
		for _, free := range []diskimage.Size{0, 50 * diskimage.MiB, diskimage.GiB} {
			size, err := MinimumSize(filesystem(), tree, free)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			left := func(size diskimage.Size) int64 {
				v, err := Formatter{}.Plan(size, filesystem(), tree)
				if err != nil {
					return -1
				}
				return int64(v.(*volume).userBlocks()-v.(*volume).blockCount()) * disk.BlockSize
			}
			if got := left(size); got < int64(free) {
				t.Errorf("%s: %s leaves %d bytes, want %s", name, size, got, free)
			}
			if smaller := size - 5*diskimage.MiB; left(smaller) >= int64(free+free/500) {
				t.Errorf("%s: %s for %s, but %s is enough", name, size, free, smaller)
			}
		}
	}
	if _, err := MinimumSize(filesystem(), trees["empty"], 17*diskimage.TiB); err == nil {
		t.Error("more than 16 TiB: no error")
	}
}

func TestFullFileSystemIsClean(t *testing.T) {
	t.Parallel()
	// The data fills its last segment, so that the log continues in an empty one; then one block
	// less, and one more.
	for _, blocks := range []int{5 * 512, 5*512 - 1, 5*512 + 1} {
		tree := fstest.Tree{fstest.Dir("."), fstest.File("a", fstest.Pattern(1, blocks*disk.BlockSize))}
		size, err := MinimumSize(filesystem(), tree, 0)
		if err != nil {
			t.Fatal(err)
		}
		image := write(t, size, tree)
		diskimagetest.Fsck(t, image)
		readBack(t, image, tree)
	}
}

// recorder records the ranges of writes.
type recorder struct {
	*os.File
	written []diskimage.Extent
}

func (r *recorder) WriteAt(b []byte, offset int64) (int, error) {
	r.written = append(r.written, diskimage.Extent{Offset: offset, Length: int64(len(b))})
	return r.File.WriteAt(b, offset)
}

// Unused blocks may have any content, and those in Zeros are not written.
func TestOnlyUsedSpaceMatters(t *testing.T) {
	t.Parallel()
	for _, tree := range []fstest.Tree{{fstest.Dir(".")}, append(adversarialTree(), smallTree()[1:]...)} {
		for _, size := range []diskimage.Size{128 * diskimage.MiB, 3 * diskimage.GiB} {
			v, err := Formatter{}.Plan(size, filesystem(), tree)
			if err != nil {
				t.Fatal(err)
			}
			image := fstest.WriteVolume(t, size, v)
			file, err := os.OpenFile(image, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			r := &recorder{File: file}
			if err := v.Write(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			data, _ := diskimage.VolumeData(v)
			for _, w := range r.written {
				if !slices.ContainsFunc(data, func(e diskimage.Extent) bool {
					return e.Offset <= w.Offset && w.Offset+w.Length <= e.Offset+e.Length
				}) {
					t.Errorf("written outside of Used: %+v", w)
				}
			}
			var end int64
			used := append(v.(diskimage.UsedSpace).Used(), diskimage.Extent{Offset: int64(size)})
			for _, e := range used {
				if e.Offset < end {
					t.Errorf("%+v begins before %d", e, end)
				}
				garbage := bytes.Repeat([]byte{0xF2}, int(min(e.Offset-end, 4<<20)))
				if _, err := file.WriteAt(garbage, end); err != nil {
					t.Fatal(err)
				}
				end = e.Offset + e.Length
			}
			diskimagetest.Fsck(t, image)
			readBack(t, image, tree)
		}
	}
}

func TestFileSystemCanGrow(t *testing.T) {
	t.Parallel()
	tree := append(adversarialTree(), smallTree()[1:]...)
	image := write(t, 300*diskimage.MiB, tree)
	if err := os.Truncate(image, 3<<30); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "resize.f2fs", image)
	for _, complaint := range diskimagetest.FsckF2FS(t, image) {
		// resize.f2fs leaves no second checkpoint, even in file systems of mkfs.f2fs.
		if !strings.Contains(complaint, "Invalid CP CRC offset: 0") {
			t.Error(complaint)
		}
	}
	readBack(t, image, tree)
}

func TestSegmentsAreAlignedOnTheDisk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		start, sector uint64
		want          uint32
	}{{0, 512, 512}, {2048, 512, 256}, {256, 4096, 256}, {4096, 512, 512}, {63, 512, 512}} {
		f := filesystem()
		f.StartLBA, f.SectorSize = tt.start, diskimage.Size(tt.sector)
		v, err := Formatter{}.Plan(100*diskimage.MiB, f, smallTree())
		if err != nil {
			t.Fatal(err)
		}
		if got := v.(*volume).segment0; got != tt.want {
			t.Errorf("from sector %d of %d bytes on: the first segment is at %d, want %d", tt.start, tt.sector, got,
				tt.want)
		}
		if tt.sector == 512 {
			diskimagetest.Fsck(t, fstest.WriteVolume(t, 100*diskimage.MiB, v))
		}
	}
}

func TestLabelAndUUID(t *testing.T) {
	t.Parallel()
	image := write(t, 64*diskimage.MiB, fstest.Tree{fstest.Dir(".")})
	out := diskimagetest.Run(t, "blkid", "-p", "-o", "export", image)
	for _, want := range []string{"UUID=" + testUUID.String() + "\n", "LABEL=rootfs", "TYPE=f2fs\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
