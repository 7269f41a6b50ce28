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

// newImage returns a small file system.
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

// readError returns the first error of reading a whole file system.
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

// A symbolic link with a negative size caused a panic (issue 12, A7).
func TestInvalidSizesAreErrors(t *testing.T) {
	t.Parallel()
	const text = "the text of a link in its inode"
	image := newImage(t, diskimage.Entry{Name: "link", Mode: unix.S_IFLNK | 0o777, Linkname: text})
	if err := readError(image); err != nil {
		t.Fatal(err)
	}
	const blocks, sizeLow, sizeHigh = 0x28, 0x04, 0x6c // offsets in an inode
	inode := bytes.Index(image, []byte(text)) - blocks
	for _, size := range []int64{-1, -1 << 63, 1<<63 - 1, 1 << 52} {
		binary.LittleEndian.PutUint32(image[inode+sizeLow:], uint32(size))
		binary.LittleEndian.PutUint32(image[inode+sizeHigh:], uint32(uint64(size)>>32))
		if err := readError(image); err == nil || !strings.Contains(err.Error(), "invalid file size") {
			t.Errorf("%d: got %v", size, err)
		}
	}
}

// A few directories that are linked twice, each inside of another, make a tree of endless length
// (issue 12, A7).
func TestDirectoriesAreLinkedOnce(t *testing.T) {
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
	if err := readError(image); err == nil || !strings.Contains(err.Error(), "linked twice") {
		t.Errorf("got %v", err)
	}
}

// memory is an image in memory.
type memory []byte

func (m memory) WriteAt(p []byte, offset int64) (int, error) { return copy(m[offset:], p), nil }
