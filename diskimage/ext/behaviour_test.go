package ext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// TestSameInputSameBytes is not parallel: it changes GOMAXPROCS.
func TestSameInputSameBytes(t *testing.T) {
	const size = 64 * diskimage.MiB
	sums := map[[sha256.Size]byte]bool{}
	for _, workers := range []int{1, 2, 7} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(workers))
		image, err := os.Open(write(t, size, filesystem("ext4", "trixie"), adversarialTree()))
		if err != nil {
			t.Fatal(err)
		}
		defer image.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, image); err != nil {
			t.Fatal(err)
		}
		sums[[sha256.Size]byte(sum.Sum(nil))] = true
	}
	if len(sums) != 1 {
		t.Errorf("%d different images with 1, 2 and 7 workers", len(sums))
	}
}

func TestVolumeCanBeWrittenTwice(t *testing.T) {
	t.Parallel()
	const size = 8 * diskimage.MiB
	v, err := Formatter{}.Plan(size, filesystem("ext4", "trixie"), smallTree())
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(writeVolume(t, size, v))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(writeVolume(t, size, v))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the second image differs from the first")
	}
}

func TestFileSystemCanGrowAndShrink(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			tree := smallTree()
			image := write(t, 200*diskimage.MiB, filesystem(k.fsType, k.release), tree)
			for _, size := range []string{"3G", "150M"} {
				diskimagetest.Run(t, "resize2fs", "-f", image, size)
				fsckClean(t, image)
			}
			readBack(t, image, tree)
		})
	}
}

func TestTooLittleSpaceIsKnownBeforeWriting(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		size diskimage.Size
		fs   diskimage.Filesystem
		tree memTree
		want diskimage.NoSpaceError
	}{
		{
			"no block at all", 4095, filesystem("ext2", ""), smallTree(),
			diskimage.NoSpaceError{What: "blocks", Needed: 1, Available: 0, BlockSize: disk.BlockSize},
		},
		{
			"no room for metadata", 3 * disk.BlockSize, filesystem("ext2", ""), smallTree(),
			diskimage.NoSpaceError{What: "blocks", Needed: 1 + 1 + 2 + 1, Available: 3, BlockSize: disk.BlockSize},
		},
		{
			"no room for a journal", 4 * diskimage.MiB, filesystem("ext3", ""), smallTree(),
			diskimage.NoSpaceError{What: "blocks", Needed: 2048, Available: 1024, BlockSize: disk.BlockSize},
		},
		{ // 8 inode table blocks, 2 bitmaps, superblock and descriptors are fixed
			"no room for data", 2 * diskimage.MiB, filesystem("ext2", ""),
			memTree{dirAt("."), fileAt("a", pattern(1, 12*disk.BlockSize)), fileAt("b", pattern(2, 2e6))},
			diskimage.NoSpaceError{What: "blocks", Needed: 1 + 1 + 4 + 12 + 489 + 1, Available: 512 - 12, BlockSize: disk.BlockSize},
		},
		{
			"terabytes", 2 * diskimage.MiB, filesystem("ext4", ""),
			memTree{dirAt("."), sparseAt("a", 1<<43, 1<<20, 0), diskimage.Entry{
				Name: "b", Mode: unix.S_IFREG, Size: 1 << 43, Open: bytesContent(nil),
			}},
			diskimage.NoSpaceError{What: "blocks", Needed: 1 + 1 + 4 + 256 + 1<<31, Available: 500, BlockSize: disk.BlockSize},
		},
		{
			"no inodes", 2 * diskimage.MiB, filesystem("ext2", ""), append(memTree{dirAt(".")}, manyFiles("d", 200, 3)...),
			diskimage.NoSpaceError{What: "inodes", Needed: 11 + 1 + 200, Available: 128},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Formatter{}.Plan(tt.size, tt.fs, tt.tree)
			var noSpace *diskimage.NoSpaceError
			if !errors.As(err, &noSpace) {
				t.Fatalf("got %v, want a NoSpaceError", err)
			}
			if *noSpace != tt.want {
				t.Errorf("got %+v, want %+v", *noSpace, tt.want)
			}
		})
	}
}

func TestMinimumSizeIsEnoughAndNotMuchMore(t *testing.T) {
	t.Parallel()
	trees := map[string]memTree{
		"empty":       {dirAt(".")},
		"adversarial": adversarialTree(),
		"many inodes": append(memTree{dirAt(".")}, manyFiles("d", 5000, 10)...),
		"600 MB":      {dirAt("."), {Name: "a", Mode: unix.S_IFREG, Size: 600e6, Open: bytesContent(nil)}},
	}
	for name, tree := range trees {
		for _, k := range kinds {
			for _, free := range []diskimage.Size{0, 50 * diskimage.MiB} {
				fs := filesystem(k.fsType, k.release)
				size, err := MinimumSize(fs, tree, free)
				if err != nil {
					t.Errorf("%s, %s: %v", name, k, err)
					continue
				}
				v, err := Formatter{}.Plan(size, fs, tree)
				if err != nil {
					t.Errorf("%s, %s: %s is not enough: %v", name, k, size, err)
					continue
				}
				got := v.(*volume)
				if left := (got.freeBlocks - got.reservedBlocks) * disk.BlockSize; left < uint64(free) {
					t.Errorf("%s, %s: %s leaves %d bytes, want %s", name, k, size, left, free)
				}
				smaller := size - 3*diskimage.MiB
				v, err = Formatter{}.Plan(smaller, fs, tree)
				if err == nil && smaller >= 8*diskimage.MiB && v.(*volume).freeBlocks*disk.BlockSize >=
					v.(*volume).reservedBlocks*disk.BlockSize+uint64(free) {
					t.Errorf("%s, %s: %s, but %s is enough, too", name, k, size, smaller)
				}
			}
		}
	}
}

func TestExtentsArePlacesOfTheContent(t *testing.T) {
	t.Parallel()
	const size = 64 * diskimage.MiB
	tree := memTree{
		dirAt("."), dirAt("boot"), fileAt("boot/vmlinuz", pattern(7, 5<<20+17)), fileAt("empty", nil),
		sparseAt("sparse", 20*disk.BlockSize, disk.BlockSize, 0, 4*disk.BlockSize),
	}
	dense := sparseAt("dense", 20*disk.BlockSize+1, disk.BlockSize, 4*disk.BlockSize)
	dense.Dense = true
	tree = append(tree, dense, hardLinkAt("zweite", dense))
	lengths := map[string]int64{
		"boot/vmlinuz": 5<<20 + 17, "empty": 0, "sparse": 2 * disk.BlockSize, "dense": dense.Size, "zweite": dense.Size,
	}
	for _, k := range kinds {
		v, err := Formatter{}.Plan(size, filesystem(k.fsType, k.release), tree)
		if err != nil {
			t.Fatal(err)
		}
		image, err := os.ReadFile(writeVolume(t, size, v))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tree {
			want, regular := lengths[e.Name]
			extents, err := v.Extents(e.Name)
			if !regular {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: Extents(%q): got %v, want fs.ErrNotExist", k, e.Name, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for _, x := range extents {
				got = append(got, image[x.Offset:x.Offset+x.Length]...)
			}
			if int64(len(got)) != want {
				t.Errorf("%s: Extents(%q): %d bytes, want %d", k, e.Name, len(got), want)
			}
			if e.Name == "boot/vmlinuz" && !bytes.Equal(got, entryContent(t, e)) {
				t.Errorf("%s: Extents(%q): not the content", k, e.Name)
			}
		}
		if _, err := v.Extents("no such file"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Extents of nothing: got %v", err)
		}
	}
}

// brokenContent fails in one way or another.
type brokenContent struct {
	io.ReaderAt
	closeError error
}

func (b brokenContent) Close() error { return b.closeError }

type failingReader struct{}

func (failingReader) ReadAt([]byte, int64) (int, error) { return 0, errors.New("bad sector") }

func TestErrorsWhileCopyingNameTheFile(t *testing.T) {
	t.Parallel()
	short := func() (diskimage.Content, error) {
		return brokenContent{bytes.NewReader(make([]byte, 5000)), nil}, nil
	}
	tests := []struct {
		name string
		open func() (diskimage.Content, error)
		want string
	}{
		{"short", short, `read "file": it ends at byte 5000 of 10000`},
		{"open", func() (diskimage.Content, error) { return nil, errors.New("gone") }, `open "file": gone`},
		{"read", func() (diskimage.Content, error) { return brokenContent{failingReader{}, nil}, nil }, `read "file" at byte 0: bad sector`},
		{"close", func() (diskimage.Content, error) {
			return brokenContent{bytes.NewReader(make([]byte, 10000)), errors.New("stale handle")}, nil
		}, `close "file": stale handle`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := entry("file", unix.S_IFREG)
			e.Size, e.Open = 10000, tt.open
			v, err := Formatter{}.Plan(8*diskimage.MiB, filesystem("ext4", ""), memTree{dirAt("."), e})
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Write(t.Context(), discard{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// discard forgets what is written.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// full fails from an offset on.
type full int64

func (f full) WriteAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > int64(f) {
		return 0, unix.ENOSPC
	}
	return len(p), nil
}

func TestWriteErrorsAreReported(t *testing.T) {
	t.Parallel()
	v, err := Formatter{}.Plan(300*diskimage.MiB, filesystem("ext4", ""), adversarialTree())
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []full{0, 1024, 1 << 20, 30 << 20, 128 << 20} {
		if err := v.Write(t.Context(), limit); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("write error at %d: got %v", limit, err)
		}
	}
}

func TestWriteStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	for _, tree := range []memTree{adversarialTree(), {dirAt(".")}} {
		v, err := Formatter{}.Plan(300*diskimage.MiB, filesystem("ext4", ""), tree)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := v.Write(ctx, discard{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
}

// brokenTree ends with an error.
type brokenTree struct{ memTree }

var errTree = errors.New("tree is broken")

func (b brokenTree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		for e := range b.memTree.Entries() {
			if !yield(e, nil) {
				return
			}
		}
		yield(diskimage.Entry{}, errTree)
	}
}

func TestWhatTheFormatCannotHoldIsAnError(t *testing.T) {
	t.Parallel()
	with := func(e diskimage.Entry, change func(*diskimage.Entry)) memTree {
		change(&e)
		return memTree{dirAt("."), e}
	}
	xattr := func(name string, length int) memTree {
		return with(fileAt("a", nil), func(e *diskimage.Entry) {
			e.Xattrs = []diskimage.Xattr{{Name: name, Value: make([]byte, length)}}
		})
	}
	manyLinks := memTree{dirAt("."), fileAt("a", nil)}
	for i := range maxLinks {
		manyLinks = append(manyLinks, hardLinkAt(fmt.Sprint(i), manyLinks[1]))
	}
	tests := []struct {
		name string
		tree diskimage.Tree
		want string
	}{
		{"no root", memTree{}, "it has no root"},
		{"root is no directory", memTree{fileAt(".", nil)}, "instead of the root"},
		{"root is not first", memTree{dirAt("a"), dirAt(".")}, `"a" comes first`},
		{"broken tree", brokenTree{memTree{dirAt(".")}}, errTree.Error()},
		{"twice", memTree{dirAt("."), dirAt("a"), dirAt("a")}, `"a" is there twice`},
		{"without its directory", memTree{dirAt("."), dirAt("a/b")}, `"a/b" comes before`},
		{"below a file", memTree{dirAt("."), fileAt("a", nil), fileAt("a/b", nil)}, `"a/b" comes before`},
		{"parent as a name", memTree{dirAt("."), dirAt("..")}, `".." is not a name`},
		{"empty name", memTree{dirAt("."), dirAt("")}, `"" is not a name`},
		{"long name", memTree{dirAt("."), dirAt(strings.Repeat("x", 256))}, "256 bytes"},
		{"NUL in a name", memTree{dirAt("."), dirAt("a\x00b")}, "is not a name"},
		{"link to nothing", memTree{dirAt("."), hardLinkAt("b", fileAt("a", nil))}, `no earlier file`},
		{"link to a directory", memTree{dirAt("."), dirAt("a"), hardLinkAt("b", dirAt("a"))}, `no earlier file`},
		{"too many links", manyLinks, "65001 links"},
		{"lost+found is a file", memTree{dirAt("."), fileAt("lost+found", nil)}, "not a directory"},
		{"lost+found twice", memTree{dirAt("."), dirAt("lost+found"), dirAt("lost+found")}, "twice"},
		{"empty symlink", memTree{dirAt("."), linkAt("a", "")}, `"a": symbolic link`},
		{"long symlink", memTree{dirAt("."), linkAt("a", strings.Repeat("x", 4096))}, `4096 bytes`},
		{"large device", memTree{dirAt("."), deviceAt("a", unix.S_IFCHR, 4096, 0)}, `device 4096:0`},
		{"no type", memTree{dirAt("."), entry("a", 0o644)}, "file type"},
		{"negative size", with(fileAt("a", nil), func(e *diskimage.Entry) { e.Size = -1 }), "size of -1"},
		{"huge file", with(fileAt("a", nil), func(e *diskimage.Entry) { e.Size = 1 << 45 }), "size of"},
		{"no content", with(fileAt("a", []byte{1}), func(e *diskimage.Entry) { e.Open = nil }), "without a content"},
		{"data behind the end", with(fileAt("a", []byte{1}), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 0, Length: 2}}
		}), "outside"},
		{"data out of order", with(fileAt("a", make([]byte, 9)), func(e *diskimage.Entry) {
			e.Data = []diskimage.Extent{{Offset: 5, Length: 1}, {Offset: 0, Length: 1}}
		}), "out of order"},
		{"unknown attribute", xattr("btrfs.compression", 3), `"btrfs.compression"`},
		{"attribute without a name", xattr("user.", 3), `"user."`},
		{"large attribute", xattr("user.a", 5000), "more than the one block"},
		{"broken ACL", xattr("system.posix_acl_access", 5), "not an access control list"},
		{"attribute twice", with(fileAt("a", nil), func(e *diskimage.Entry) {
			e.Xattrs = []diskimage.Xattr{{Name: "user.a"}, {Name: "user.a"}}
		}), "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Formatter{}.Plan(64*diskimage.MiB, filesystem("ext4", "bookworm"), tt.tree)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestParametersAreChecked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*diskimage.Filesystem)
		size   diskimage.Size
		want   string
	}{
		{"type", func(fs *diskimage.Filesystem) { fs.Type = "xfs" }, diskimage.GiB, `"xfs"`},
		{"label", func(fs *diskimage.Filesystem) { fs.Label = "seventeen letters" }, diskimage.GiB, "16 bytes"},
		{"size", func(*diskimage.Filesystem) {}, 16 * diskimage.TiB, "the limit is"},
	}
	for _, tt := range tests {
		fs := filesystem("ext4", "")
		tt.change(&fs)
		if _, err := (Formatter{}).Plan(tt.size, fs, smallTree()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestLostAndFoundOfTheTreeIsKept(t *testing.T) {
	t.Parallel()
	lost := dirAt("lost+found")
	lost.Mode, lost.UID = unix.S_IFDIR|0o750, 12
	tree := memTree{dirAt("."), lost, fileAt("lost+found/#12", []byte("x"))}
	image := write(t, 8*diskimage.MiB, filesystem("ext4", "trixie"), tree)
	fsckClean(t, image)
	stat := debugfs(t, image, []string{"stat /lost+found"})[0]
	for _, want := range []string{"Inode: 11 ", "Mode:  0750", "User:    12", "Size: 16384"} {
		if !strings.Contains(stat, want) {
			t.Errorf("no %q in:\n%s", want, stat)
		}
	}
}

func TestNothingIsNeededOfTheFilesystemButItsType(t *testing.T) {
	t.Parallel()
	for _, fsType := range []string{"ext2", "ext3", "ext4"} {
		image := write(t, 16*diskimage.MiB, diskimage.Filesystem{Type: fsType}, adversarialDirectories())
		fsckClean(t, image)
	}
}

// adversarialDirectories is a tree with an index.
func adversarialDirectories() memTree {
	return append(memTree{dirAt(".")}, manyFiles("d", 500, 20)...)
}

func TestHashIsThatOfDebugfs(t *testing.T) {
	t.Parallel()
	image := write(t, 8*diskimage.MiB, filesystem("ext4", "bookworm"), memTree{dirAt(".")})
	files := []string{"a", "abc", "abcd", "libfoo.so.1", strings.Repeat("x", 31), strings.Repeat("y", 32), strings.Repeat("z", 255),
		"\xff\xfe\x80", "grüße"}
	for _, seed := range []uuid.UUID{uuid.Nil, testSeed} {
		var commands []string
		for _, name := range files {
			commands = append(commands, fmt.Sprintf("dx_hash -h half_md4 -s %s %s", seed, name))
		}
		for i, answer := range debugfs(t, image, commands) {
			want := field(t, answer, `is 0x([0-9a-f]+) `)
			if got := fmt.Sprintf("%x", newHashSeed(seed).dirHash(files[i])); got != want {
				t.Errorf("hash of %q with seed %s: got %s, want %s", files[i], seed, got, want)
			}
		}
	}
}

func TestACLsLeaveOutIDsThatMeanNothing(t *testing.T) {
	t.Parallel()
	const none = 1<<32 - 1
	got, err := diskACL(aclOf([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000}, [3]uint32{32, 4, none}))
	want := []byte{1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 7, 0, 0xE8, 3, 0, 0, 32, 0, 4, 0}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

func TestTimesThatDoNotFitBecomeTheNearest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		time time.Time
		want stamp
	}{
		{time.Time{}, stamp{}},
		{time.Unix(minSeconds, 5), stamp{minSeconds, 5}},
		{time.Unix(minSeconds-1, 5), stamp{minSeconds, 0}},
		{time.Unix(maxSeconds+1, 5), stamp{maxSeconds, 0}},
	}
	for _, tt := range tests {
		if got := newStamp(tt.time); got != tt.want {
			t.Errorf("newStamp(%v): got %v, want %v", tt.time, got, tt.want)
		}
	}
}

func TestZeroBlocksAreNotWritten(t *testing.T) {
	t.Parallel()
	tree := memTree{dirAt("."), {Name: "zeros", Mode: unix.S_IFREG, Size: 100 << 20, Open: func() (diskimage.Content, error) {
		return brokenContent{zeroReader{}, nil}, nil
	}}}
	image := write(t, 2*diskimage.GiB, filesystem("ext4", "bookworm"), tree)
	var stat unix.Stat_t
	if err := unix.Stat(image, &stat); err != nil {
		t.Fatal(err)
	}
	if got := stat.Blocks * 512; got > 2<<20 {
		t.Errorf("%s: %d bytes on the disk, want less than 2 MiB", filepath.Base(image), got)
	}
}

type zeroReader struct{}

func (zeroReader) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
