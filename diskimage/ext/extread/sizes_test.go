// SPDX-License-Identifier: Apache-2.0

package extread_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
)

// newImage makes a small file system.
func newImage(t *testing.T, entries ...diskimage.Entry) memory {
	t.Helper()
	tree, err := diskimage.Overlay(diskimage.EmptyTree(time.Unix(0, 0)), entries...)
	if err != nil {
		t.Fatal(err)
	}
	const size = 9 * diskimage.MiB
	volume, err := ext.Formatter{}.Plan(size, diskimage.Filesystem{Type: "ext2"}, tree)
	if err != nil {
		t.Fatal(err)
	}
	image := memory(make([]byte, size))
	if err := volume.Write(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	return image
}

// readError is the error of reading a file system.
func readError(image memory) error {
	fs, err := extread.New(bytes.NewReader(image))
	if err != nil {
		return err
	}
	for _, err := range fs.Entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

// A size that no file can have was believed: a symbolic link of a negative one was a panic (issue 12, A7).
func TestSizesThatNoFileHasAreErrors(t *testing.T) {
	t.Parallel()
	const text = "the text of a link in its inode"
	image := newImage(t, diskimage.Entry{Name: "link", Mode: unix.S_IFLNK | 0o777, Linkname: text})
	if err := readError(image); err != nil {
		t.Fatal(err)
	}
	const blocks, sizeLow, sizeHigh = 0x28, 0x04, 0x6c // places in an inode
	inode := bytes.Index(image, []byte(text)) - blocks
	for _, size := range []int64{-1, -1 << 63, 1<<63 - 1, 1 << 52} {
		binary.LittleEndian.PutUint32(image[inode+sizeLow:], uint32(size))
		binary.LittleEndian.PutUint32(image[inode+sizeHigh:], uint32(uint64(size)>>32))
		if err := readError(image); err == nil || !strings.Contains(err.Error(), "no size of a file") {
			t.Errorf("%d: got %v", size, err)
		}
	}
}

// A directory in two places, of which each holds another such, makes a tree that is never read to its end
// (issue 12, A7).
func TestDirectoriesAreInOnePlace(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, newImage(t, diskimage.DirEntry("one", 0o755, time.Unix(0, 0))), 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "debugfs", "-w", "-R", "link one two", name)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := readError(image); err == nil || !strings.Contains(err.Error(), "in two places") {
		t.Errorf("got %v", err)
	}
}

// memory is an image in memory.
type memory []byte

func (m memory) WriteAt(p []byte, offset int64) (int, error) { return copy(m[offset:], p), nil }
