// SPDX-License-Identifier: Apache-2.0

package extread_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// open opens a file system.
var open fstest.Open = func(image io.ReaderAt) (diskimage.Tree, error) { return extread.New(image) }

// newImage returns a small ext2.
func newImage(t *testing.T, entries ...diskimage.Entry) fstest.Memory {
	t.Helper()
	image, _ := fstest.NewImage(t, ext.Formatter{}, diskimage.Filesystem{Type: "ext2"}, 9*diskimage.MiB, entries...)
	return image
}

// A symbolic link with a negative size caused a panic (issue 12, A7).
func TestInvalidSizesAreErrors(t *testing.T) {
	t.Parallel()
	const text = "the text of a link in its inode"
	image := newImage(t, diskimage.Entry{Name: "link", Mode: unix.S_IFLNK | 0o777, Linkname: text})
	if err := open.ReadError(image); err != nil {
		t.Fatal(err)
	}
	const blocks, sizeLow, sizeHigh = 0x28, 0x04, 0x6c // offsets in an inode
	inode := bytes.Index(image, []byte(text)) - blocks
	for _, size := range []int64{-1, -1 << 63, 1<<63 - 1, 1 << 52} {
		binary.LittleEndian.PutUint32(image[inode+sizeLow:], uint32(size))
		binary.LittleEndian.PutUint32(image[inode+sizeHigh:], uint32(uint64(size)>>32))
		if err := open.ReadError(image); err == nil || !strings.Contains(err.Error(), "invalid file size") {
			t.Errorf("%d: got %v", size, err)
		}
	}
}

// A few directories that are linked twice, each inside of another, make a tree of endless length
// (issue 12, A7).
func TestDirectoriesAreLinkedOnce(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, newImage(t, diskimage.DirEntry("one", 0o755, fstest.Epoch)), 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "debugfs", "-w", "-R", "link one two", name)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := open.ReadError(image); err == nil || !strings.Contains(err.Error(), "linked twice") {
		t.Errorf("got %v", err)
	}
}
