// SPDX-License-Identifier: Apache-2.0

package fatread_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat/fatread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var written = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

// files returns the contents that are written, by name.
func files() map[string][]byte {
	all := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI": bytes.Repeat([]byte("efi"), 70_000), "EFI/BOOT/grub.cfg": []byte("search"),
		"empty": nil,
		"vmlinuz-6.12.0-amd64 with a rather long name": bytes.Repeat([]byte("k"), 4096),
		"grüße 🐧.txt": []byte("utf-16"),
	}
	for i := range 200 {
		all[fmt.Sprintf("many/file-%d.module", i)] = []byte{byte(i)}
	}
	return all
}

func read(t *testing.T, fs *fatread.FileSystem) map[string][]byte {
	t.Helper()
	got := map[string][]byte{}
	for e, err := range fs.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		var data []byte
		if e.Open != nil {
			c, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(io.NewSectionReader(c, 0, e.Size)); err != nil || int64(len(data)) != e.Size {
				t.Errorf("%s: read %d of %d bytes: %v", e.Name, len(data), e.Size, err)
			}
		}
		got[e.Name] = data
	}
	return got
}

func compare(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	for name, data := range want {
		if other, ok := got[name]; !ok || !bytes.Equal(other, data) {
			t.Errorf("%q: exists: %t, %d bytes, want %d", name, ok, len(other), len(data))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

func TestPromisesOfAReader(t *testing.T) {
	t.Parallel()
	var entries []diskimage.Entry
	for name, data := range files() {
		entries = append(entries, diskimage.FileEntry(name, 0o644, data, written))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(written), entries...)
	if err != nil {
		t.Fatal(err)
	}
	var readers []fstest.Reader
	for _, size := range []diskimage.Size{2 * diskimage.MiB, 32 * diskimage.MiB, 300 * diskimage.MiB} {
		readers = append(readers, fstest.Reader{
			Writer: fstest.Writer{Name: size.String(), Formatter: fat.Formatter{},
				Filesystem: diskimage.Filesystem{Type: "vfat"}, Tree: tree, Size: size},
			Open:    open,
			ErrNone: fatread.ErrNoFAT,
			// A FAT has no permissions, and its root no time.
			Known: func(e *diskimage.Entry) {
				if e.Mode &= unix.S_IFMT; e.IsDir() {
					e.ModTime = time.Time{}
				}
			},
		})
	}
	fstest.TestReader(t, readers...)
}

func TestFATOfMtoolsIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := files()
	delete(want, "grüße 🐧.txt") // mtools does not support surrogates
	for name, data := range want {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, bits := range []string{"12", "16", "32"} {
		image := filepath.Join(t.TempDir(), "image")
		size := map[string]string{"12": "4096", "16": "65536", "32": "307200"}[bits]
		diskimagetest.Run(t, "mkfs.fat", "-C", "-F", bits, image, size)
		for _, top := range []string{"EFI", "empty", "many", "vmlinuz-6.12.0-amd64 with a rather long name"} {
			diskimagetest.Run(t, "env", "LC_ALL=C.UTF-8", "mcopy", "-s", "-i", image, filepath.Join(dir, top), "::")
		}
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fs, err := fatread.New(f)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, read(t, fs), want)
	}
}

// open opens a file system.
var open fstest.Open = func(image io.ReaderAt) (diskimage.Tree, error) { return fatread.New(image) }

// newImage returns a FAT16 of 40 MiB.
func newImage(t *testing.T, entries ...diskimage.Entry) fstest.Memory {
	t.Helper()
	image, _ := fstest.NewImage(t, fat.Formatter{}, diskimage.Filesystem{Type: "vfat"}, 40*diskimage.MiB, entries...)
	return image
}

// A boot sector may declare any length of the FAT. For these, 16 GiB of memory were allocated
// (issue 12, A7).
func TestFATIsNoLongerThanItsImage(t *testing.T) {
	t.Parallel()
	for clusters, want := range map[uint32]string{1<<32 - 1: "more clusters", 1 << 27: "ends in the FAT"} {
		image := newImage(t)
		image[0x0d], image[0x10] = 1, 1 // sectors of a cluster, FATs
		put := func(at int, value uint32, length int) {
			copy(image[at:at+length], binary.LittleEndian.AppendUint32(nil, value))
		}
		put(0x13, 0, 2)
		put(0x20, clusters, 4)
		put(0x16, 0, 2)
		put(0x24, clusters/128+1, 4) // sectors of a FAT, of 128 clusters each
		put(0x11, 0, 2)
		if _, err := fatread.New(bytes.NewReader(image)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d clusters: got %v, want %q", clusters, err, want)
		}
	}
}

// As in extread: directories that are linked twice can make an endless tree (issue 12, A7).
func TestDirectoriesAreLinkedOnce(t *testing.T) {
	t.Parallel()
	image := newImage(t, diskimage.DirEntry("ONE", 0o755, written), diskimage.DirEntry("TWO", 0o755, written))
	const directory, cluster = "\x10", 0x1a
	one, two := bytes.Index(image, []byte("ONE        "+directory)), bytes.Index(image, []byte("TWO        "+directory))
	if one < 0 || two < 0 {
		t.Fatal("the entries were not found")
	}
	copy(image[two+cluster:two+cluster+2], image[one+cluster:])
	if err := open.ReadError(image); err == nil || !strings.Contains(err.Error(), "linked twice") {
		t.Errorf("got %v", err)
	}
}
