// SPDX-License-Identifier: Apache-2.0

package format_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
)

// TestFullDiskLeavesNothing writes to file systems that become full after some bytes.
func TestFullDiskLeavesNothing(t *testing.T) {
	dir, inside := diskimagetest.InNamespace(t)
	if !inside {
		return
	}
	raw := rawimagetest.Case{Size: 8 << 20,
		Pieces: []rawimagetest.Piece{{Length: 8 << 20, Content: rawimagetest.Noise}}}
	for _, size := range []int{4 << 10, 64 << 10, 1<<20 + 4096, 7 << 20} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
		for _, f := range format.Formats() {
			for _, compression := range f.Compressions {
				// The raw image is on the full file system, too, or in another directory.
				for _, scratch := range []string{dir, t.TempDir()} {
					name := fmt.Sprintf("%s %s after %d bytes, raw image in %s", f.Name, compression, size,
						filepath.Base(scratch))
					checkFullDisk(t, name, dir, scratch, raw,
						format.Output{Format: f.Name, Options: format.Options{Compress: compression}})
				}
			}
		}
		if err := unix.Unmount(dir, 0); err != nil { // fails if a file is still open
			t.Error(err)
		}
	}
}

func checkFullDisk(t *testing.T, name, dir, scratch string, raw rawimagetest.Case, output format.Output) {
	t.Helper()
	err := diskimage.WriteFile(t.Context(), filepath.Join(dir, "disk"), 0o644, func(file *os.File) error {
		output.File = file
		return format.Write(t.Context(), []format.Output{output}, scratch, caseDisk{Case: raw, data: scratch == dir})
	})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) ||
		!strings.Contains(err.Error(), "is full") {
		t.Errorf("%s: got %v, want %v with the directory", name, err, unix.ENOSPC)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%s: %v is left behind (%v)", name, left, err)
	}
}

// limitedFile is a file on a disk that becomes full after some bytes.
type limitedFile struct {
	*os.File
	room *diskimagetest.FullWriter
}

// WriteAt implements io.WriterAt. It writes the bytes that fit, as pwrite(2) does.
func (f limitedFile) WriteAt(b []byte, offset int64) (int, error) {
	n, full := f.room.WriteAt(b, offset)
	n, err := f.File.WriteAt(b[:n], offset)
	return n, errors.Join(err, full)
}

// Wherever the disk becomes full, in the table, a FAT, an ext4, its metadata or a swap area,
// nothing is left behind, and the error names what was being written.
func TestDiskFullAtAnyByteLeavesNothing(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "root")
	makeTree(t, root, false)
	image, dir := everyVolume(t, root), t.TempDir()
	write := func(room int64) (left int64, err error) {
		writer := diskimagetest.NewFullWriter(room)
		err = diskimage.WriteFile(t.Context(), filepath.Join(dir, "disk"), 0o644, func(f *os.File) error {
			return image.Write(t.Context(), limitedFile{f, writer})
		})
		return writer.Room(), err
	}
	const plenty = 1 << 40
	left, err := write(plenty)
	if err = errors.Join(err, os.Remove(filepath.Join(dir, "disk"))); err != nil {
		t.Fatal(err)
	}
	length := plenty - left
	for i := range int64(61) {
		room := i * (length - 1) / 60
		_, err := write(room)
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) ||
			!strings.Contains(err.Error(), "write partition") {
			t.Errorf("after %d of %d bytes: got %v", room, length, err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("after %d of %d bytes: %v is left behind (%v)", room, length, files, err)
		}
	}
}
