// SPDX-License-Identifier: Apache-2.0

package extread_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// nastyTree returns a tree with one of everything.
func nastyTree(t *testing.T) diskimage.Tree {
	t.Helper()
	late := time.Unix(5_000_000_000, 123456789) // after 2038
	pattern := func(n int) []byte {
		data := make([]byte, n)
		r := rand.NewChaCha8([32]byte{1})
		_, _ = r.Read(data)
		return data
	}
	file := func(name string, data []byte) diskimage.Entry { return diskimage.FileEntry(name, 0o644, data, late) }
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255}
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	one := file("one", []byte("1"))
	owned := file("owned", pattern(5000))
	owned.UID, owned.GID, owned.Mode = 100_000, 200_000, unix.S_IFREG|0o4755
	owned.Xattrs = []diskimage.Xattr{
		{Name: "security.capability", Value: capability}, {Name: "system.posix_acl_access", Value: acl},
		{Name: "user.long", Value: bytes.Repeat([]byte("x"), 1500)},
	}
	hard := one
	hard.Name, hard.HardLink, hard.Open = "two", "one", nil
	entries := []diskimage.Entry{
		one, owned, hard, file("empty", nil), file("large", pattern(20<<20)), file("latin\xe9", []byte("x")),
		file(strings.Repeat("n", 255), nil),
		{Name: "fifo", Mode: unix.S_IFIFO | 0o600, ModTime: late},
		{Name: "null", Mode: unix.S_IFCHR | 0o666, ModTime: late, Major: 1, Minor: 3},
		{Name: "big", Mode: unix.S_IFBLK | 0o600, ModTime: late, Major: 259, Minor: 70_000},
		{Name: "short", Mode: unix.S_IFLNK | 0o777, ModTime: late, Linkname: "one"},
		{Name: "long", Mode: unix.S_IFLNK | 0o777, ModTime: late, Linkname: strings.Repeat("l/", 300)},
		{Name: "dir", Mode: unix.S_IFDIR | 0o1777, ModTime: late},
	}
	for i := range 3000 {
		entries = append(entries, file(fmt.Sprintf("dir/file-%04d", i), []byte{byte(i)}))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(late), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestPromisesOfAReader(t *testing.T) {
	t.Parallel()
	var readers []fstest.Reader
	for _, kind := range []diskimage.Filesystem{{Type: "ext2"}, {Type: "ext3"}, {Type: "ext4"},
		{Type: "ext4", Features: ext.E2fsprogs147}} {
		kind.Label, kind.UUID = "nasty", uuid.Max
		readers = append(readers, fstest.Reader{
			Writer: fstest.Writer{
				Name: kind.Type + kind.Features, Formatter: ext.Formatter{}, Filesystem: kind, Tree: nastyTree(t),
				Size: 128 * diskimage.MiB,
			},
			Open:    open,
			ErrNone: extread.ErrNoExt, Known: func(*diskimage.Entry) {}, Added: []string{"lost+found"},
		})
	}
	fstest.TestReader(t, readers...)
}

func TestLabelIsRead(t *testing.T) {
	t.Parallel()
	const size = 8 * diskimage.MiB
	volume, err := (ext.Formatter{}).Plan(size, diskimage.Filesystem{Type: "ext4", Label: "nasty"},
		diskimage.EmptyTree(time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	image := fstest.Memory(make([]byte, size))
	if err := volume.Write(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	if fs, err := extread.New(bytes.NewReader(image)); err != nil || fs.Label() != "nasty" {
		t.Errorf("label %q, %v", fs.Label(), err)
	}
}

func TestFileSystemsOfMke2fsAreRead(t *testing.T) {
	t.Parallel()
	mke2fs := diskimagetest.Tool(t, "mke2fs")
	dir := t.TempDir()
	var errs []error
	write := func(name string, size int64, text string) {
		name = filepath.Join(dir, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(name), 0o755))
		f, err := os.Create(name)
		errs = append(errs, err)
		_, err = f.WriteAt([]byte(text), size-int64(len(text)))
		errs = append(errs, err, f.Close(), os.Chtimes(name, time.Time{}, time.Unix(1_600_000_000, 0)))
	}
	write("a/small", 5, "small")
	write("a/hole", 3<<20, "end")
	write("a/indirect", 300<<10, strings.Repeat("0123456789", 30<<10))
	errs = append(errs, os.Symlink("small", filepath.Join(dir, "a/link")),
		os.Link(filepath.Join(dir, "a/small"), filepath.Join(dir, "hard")))
	for i := range 500 {
		write(fmt.Sprintf("many/name-of-some-length-%d", i), 1, "x")
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	want := fstest.Flatten(t, diskimage.NewDirTree(dir))
	for _, args := range []string{
		"-t ext4", "-t ext4 -b 1024", "-t ext2 -b 1024 -I 128", "-t ext3 -b 2048", "-t ext4 -O ^64bit,^extents",
		"-t ext4 -O meta_bg,^resize_inode",
		"-t ext4 -O 64bit,metadata_csum_seed,mmp", "-t ext2 -r 0 -O none",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			image := filepath.Join(t.TempDir(), "image")
			words := append([]string{"-q", "-F", "-d", dir}, strings.Fields(args)...)
			diskimagetest.Run(t, mke2fs, append(words, image, "64M")...)
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fs, err := extread.New(f)
			if err != nil {
				t.Fatal(err)
			}
			got := fstest.Flatten(t, fs)
			for name, g := range got {
				w, ok := want[name]
				if !ok || name == "lost+found" {
					continue
				}
				// Times are not compared: mke2fs creates directories anew.
				if g.Content != w.Content || g.Mode != w.Mode || g.Linkname != w.Linkname || g.Size != w.Size ||
					(g.HardLink == "") != (w.HardLink == "") {
					t.Errorf("%q: got %+v, want %+v", name, g.Entry, w.Entry)
				}
			}
			for name := range want {
				if _, ok := got[name]; !ok {
					t.Errorf("%q is missing", name)
				}
			}
		})
	}
}
