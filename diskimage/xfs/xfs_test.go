// SPDX-License-Identifier: Apache-2.0

package xfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var open fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return New(r) }

// images are those of testdata: Debian's mkfs.xfs reads no directories before 6.17.
func images() []fstest.KernelImage {
	attributes := fstest.File("remote", nil) // a value in blocks of its own
	attributes.Xattrs = []diskimage.Xattr{{Name: "user.large", Value: bytes.Repeat([]byte("long "), 4000)}}
	parts := []fstest.Tree{append(fstest.Structures(), attributes)}
	mkfs := func(options ...string) []string {
		return append([]string{"mkfs.xfs", "-q", "--unsupported"}, options...)
	}
	return []fstest.KernelImage{
		{Name: "v5", Size: 32 * diskimage.MiB, Mkfs: mkfs("-L", "name"), Mount: []string{"rw"}, Parts: parts},
		{Name: "v5-small-blocks", Size: 32 * diskimage.MiB, Mkfs: mkfs("-b", "size=1024", "-n", "size=4096", "-i",
			"nrext64=1"), Mount: []string{"rw"}, Parts: parts},
	}
}

func TestFilesOfTheKernelAreRead(t *testing.T) {
	t.Parallel()
	for _, k := range images() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			fs, err := New(bytes.NewReader(k.Open(t)))
			if err != nil {
				t.Fatal(err)
			}
			if k.Name == "v5" && fs.Label() != "name" {
				t.Errorf("label %q", fs.Label())
			}
			fstest.CompareTrees(t, fs, k.Parts[0], func(*diskimage.Entry) {})
		})
	}
}

// Linux 6.18 reads no version 4 any more. Of old mkfs.xfs(8), a list of files has no times, links and attributes.
func TestFilesOfMkfsXFSAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := append(fstest.Tree{fstest.Dir("."), fstest.Dir("d"), fstest.Device("null", unix.S_IFCHR, 1, 3),
		fstest.Device("large", unix.S_IFBLK, 300, 70000), fstest.Link("link", "d/x"),
		fstest.Entry("fifo", unix.S_IFIFO|0o600),
		fstest.File("data", fstest.Pattern(1, 300_001))}, fstest.ManyFiles("many", 1000, 20)...)
	tree[6].UID, tree[6].GID = 70000, 5
	var list strings.Builder
	list.WriteString("/\n0 0\nd--755 0 0\n")
	inside := "."
	for _, e := range tree[1:] {
		for inside != "." && path.Dir(e.Name) != inside {
			list.WriteString("$\n")
			inside = path.Dir(inside)
		}
		kind := map[uint32]string{unix.S_IFDIR: "d", unix.S_IFCHR: "c", unix.S_IFBLK: "b", unix.S_IFLNK: "l",
			unix.S_IFIFO: "p", unix.S_IFREG: "-"}[e.Mode&unix.S_IFMT]
		fmt.Fprintf(&list, "%s %s--%03o %d %d", path.Base(e.Name), kind, e.Mode&0o777, e.UID, e.GID)
		switch kind {
		case "d":
			inside = e.Name
		case "c", "b":
			fmt.Fprintf(&list, " %d %d", e.Major, e.Minor)
		case "l":
			list.WriteString(" " + e.Linkname)
		case "-":
			name := filepath.Join(dir, "empty")
			if e.Size > 0 {
				name = filepath.Join(dir, "data")
			}
			if err := os.WriteFile(name, fstest.ReadContent(t, e), 0o600); err != nil {
				t.Fatal(err)
			}
			list.WriteString(" " + name)
		}
		list.WriteString("\n")
	}
	list.WriteString("$\n$\n")
	proto := filepath.Join(dir, "list")
	if err := os.WriteFile(proto, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"-m crc=0 -n ftype=0", "-m crc=0 -n size=8192 -b size=1024",
		"-m crc=1 -i size=1024"} {
		image := diskimagetest.SparseFile(t, 400<<20)
		args := append([]string{"-q", "-p", proto}, strings.Fields(options)...)
		diskimagetest.Run(t, "mkfs.xfs", append(args, image)...)
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fs, err := New(f)
		if err != nil {
			t.Fatal(err)
		}
		fstest.CompareTrees(t, fs, tree, func(e *diskimage.Entry) { e.ModTime = time.Time{} })
	}
}

// signing corrects the checksums of inodes and blocks, so that damage is found by other means.
type signing struct{ io.ReaderAt }

func (s signing) ReadAt(p []byte, offset int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p, offset)
	at := 0
	switch {
	case n < 512:
	case bytes.HasPrefix(p, []byte("XFSB")):
		at = superChecksum
	case bytes.HasPrefix(p, []byte("IN")):
		at = inodeChecksum
	case bytes.HasPrefix(p, []byte("XD")):
		at = dirChecksum
	case bytes.HasPrefix(p, []byte("BMA3")):
		at = extentChecksum
	case bytes.HasPrefix(p, []byte("XSLM")), bytes.HasPrefix(p, []byte("XARM")), len(p) > 9 && p[8] == 0x3B:
		at = daChecksum
	}
	if at > 0 {
		clear(p[at : at+4])
		binary.LittleEndian.PutUint32(p[at:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	}
	return n, err
}

var openSigned fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return New(signing{r}) }

func TestDamageIsAnErrorAndNothingWorse(t *testing.T) {
	t.Parallel()
	for _, k := range images() {
		image := k.Open(t)
		open.TestDamage(t, image, 100)
		openSigned.TestDamage(t, image, 300)
	}
	if _, err := New(strings.NewReader("XFSB")); !errors.Is(err, ErrNoXFS) {
		t.Errorf("got %v", err)
	}
}

// With version 5 everything but the contents has a checksum.
func TestFaultyXFSIsAnErrorOrTheSameTree(t *testing.T) {
	t.Parallel()
	fstest.TestFlips(t, fstest.Flips{Open: func(r io.ReaderAt) (diskimage.Tree, error) {
		fs, err := New(r)
		return withoutContent{fs}, err
	}, Image: images()[0].Open(t)})
}

// withoutContent is a tree whose files are empty.
type withoutContent struct{ *FileSystem }

func (w withoutContent) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		for e, err := range w.FileSystem.Entries() {
			e.Open = nil
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestFileSystemInUseIsRejected(t *testing.T) {
	t.Parallel()
	image := images()[0].Open(t)
	var sb superBlock
	decode(image, &sb)
	log := (int(sb.LogStart>>sb.GroupLog)*int(sb.GroupBlocks) + int(sb.LogStart&(1<<sb.GroupLog-1))) << sb.BlockLog
	// The last record is no longer that of unmounting.
	for at := log; at < log+int(sb.LogBlocks)<<sb.BlockLog; at += 512 {
		if binary.BigEndian.Uint32(image[at:]) == logMagic {
			image[at+512+logFlagsAt] &^= logUnmount
		}
	}
	if err := open.ReadError(image); err == nil || !strings.Contains(err.Error(), "not shut down properly") {
		t.Errorf("got %v", err)
	}
}

func FuzzDamage(f *testing.F) {
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x20 + i, 0, 0x80, 0, 0x30, 0xFF})
	}
	openSigned.Fuzz(f, 0, 264, images()[0].Open(f))
}

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
		{superBlock{}, 264}, {inodeCore{}, 100}, {inodeTail{}, 76}, {blockHeader{}, 24}, {blockTail{}, 48},
		{dirHeader{}, 64}, {daHeader{}, 56}, {attrLeaf{}, 20}, {attrEntry{}, 8}, {remoteHeader{}, 56}, {logHeader{}, 44},
	})
}
