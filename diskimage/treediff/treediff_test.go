// SPDX-License-Identifier: Apache-2.0

package treediff

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

var epoch = time.Unix(1_700_000_000, 0)

// entriesOf are the files of the tests, by name.
func entriesOf() map[string]diskimage.Entry {
	files := map[string]diskimage.Entry{}
	for _, e := range []diskimage.Entry{
		diskimage.DirEntry("etc", 0o755, epoch), diskimage.FileEntry("etc/hosts", 0o644, []byte("localhost"), epoch),
		diskimage.FileEntry("etc/hostname", 0o644, []byte("debian"), epoch),
		diskimage.SymlinkEntry("link", "etc/hosts", epoch),
	} {
		files[e.Name] = e
	}
	return files
}

func treeOf(t *testing.T, files map[string]diskimage.Entry) diskimage.Tree {
	t.Helper()
	var all []diskimage.Entry
	for _, e := range files {
		all = append(all, e)
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(epoch), all...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// changes change one file, and say what differs then.
var changes = map[string]struct {
	change func(files map[string]diskimage.Entry)
	want   string
}{
	"nothing": {func(map[string]diskimage.Entry) {}, ""},
	"content": {func(f map[string]diskimage.Entry) {
		f["etc/hosts"] = diskimage.FileEntry("etc/hosts", 0o644, []byte("localhOst"), epoch)
	}, "/etc/hosts: content"},
	"size": {func(f map[string]diskimage.Entry) {
		f["etc/hosts"] = diskimage.FileEntry("etc/hosts", 0o644, []byte("local"), epoch)
	}, "/etc/hosts: content"},
	"time": {func(f map[string]diskimage.Entry) {
		f["etc/hostname"] = diskimage.FileEntry("etc/hostname", 0o644, []byte("debian"), epoch.Add(time.Second))
	}, "/etc/hostname: time"},
	"mode": {func(f map[string]diskimage.Entry) {
		f["etc/hostname"] = diskimage.FileEntry("etc/hostname", 0o600, []byte("debian"), epoch)
	}, "/etc/hostname: mode (0644 and 0600)"},
	"link": {func(f map[string]diskimage.Entry) { f["link"] = diskimage.SymlinkEntry("link", "etc", epoch) },
		"/link: target of the link"},
	"type": {func(f map[string]diskimage.Entry) { f["link"] = diskimage.DirEntry("link", 0o755, epoch) },
		"/link: type"},
	"removed": {func(f map[string]diskimage.Entry) { delete(f, "link") }, "/link: only in the first"},
	"added": {func(f map[string]diskimage.Entry) { f["new\n"] = diskimage.FileEntry("new\n", 0o644, nil, epoch) },
		`/new\n: only in the second`},
}

func texts(all []Difference) string {
	var lines []string
	for _, d := range all {
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "; ")
}

func TestDifferencesOfTreesAreNamed(t *testing.T) {
	t.Parallel()
	for name, tt := range changes {
		files := entriesOf()
		tt.change(files)
		got, err := Trees(t.Context(), treeOf(t, entriesOf()), treeOf(t, files))
		if err != nil || texts(got) != tt.want {
			t.Errorf("%s: got %q (%v), want %q", name, texts(got), err, tt.want)
		}
	}
}

// diskOf writes a disk with one ext4, changes its bytes, and opens it.
func diskOf(t *testing.T, files map[string]diskimage.Entry, change func(f *os.File) error) *imagetree.Disk {
	t.Helper()
	layout, err := diskimage.NewLayout(diskimage.Request{Size: 16 * diskimage.MiB, Table: diskimage.GPT, ID: uuid.UUID{9},
		Arch: "amd64", Partitions: []diskimage.PartitionRequest{{Role: diskimage.RoleRoot,
			Filesystem: diskimage.Filesystem{Type: "ext4", UUID: uuid.UUID{1, 1}, Features: ext.E2fsprogs147}}}})
	if err != nil {
		t.Fatal(err)
	}
	p := layout.Partitions[0]
	volume, err := ext.Formatter{}.Plan(p.Size, p.Filesystem, treeOf(t, files))
	if err != nil {
		t.Fatal(err)
	}
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{p.Number: volume}}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := errors.Join(image.Write(t.Context(), f), change(f)); err != nil {
		t.Fatal(err)
	}
	disk, err := imagetree.ReadDisk(f, layout.Size)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func unchanged(*os.File) error { return nil }

func TestDifferencesOfDisksAreNamed(t *testing.T) {
	t.Parallel()
	for name, tt := range changes {
		files := entriesOf()
		tt.change(files)
		want := tt.want
		if want != "" {
			want = "partition 1 (root): " + want
		}
		got, err := Disks(t.Context(), diskOf(t, entriesOf(), unchanged), diskOf(t, files, unchanged))
		// A file that comes or goes changes its directory, too.
		got = slices.DeleteFunc(got, func(d Difference) bool { return d.File == "/" })
		if err != nil || texts(got) != want {
			t.Errorf("%s: got %q (%v), want %q", name, texts(got), err, want)
		}
	}
}

func TestDifferencesOutsideOfFilesAreNamed(t *testing.T) {
	t.Parallel()
	const start = 1 << 20
	for offset, want := range map[int64]string{
		100:         "before the first partition: boot code or partition table",
		start + 100: "partition 1 (root): structures of the file system; all files are equal", // which no file system uses
		start + 1024 + 0x78: "partition 1 (root): the file system of the second cannot be read: superblock: " +
			"the file system is damaged: checksum mismatch", // in the label
		15<<20 + 500<<10: "after a partition: boot code, partition table or data of --raw",
	} {
		changed := diskOf(t, entriesOf(), func(f *os.File) error {
			var b [1]byte
			if _, err := f.ReadAt(b[:], offset); err != nil {
				return err
			}
			b[0] ^= 1
			_, err := f.WriteAt(b[:], offset)
			return err
		})
		got, err := Disks(t.Context(), diskOf(t, entriesOf(), unchanged), changed)
		if err != nil || texts(got) != want {
			t.Errorf("offset %d: got %q (%v), want %q", offset, texts(got), err, want)
		}
	}
}
