// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
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
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// testImage makes a disk image with an ESP that is mounted below a separate /boot.
func testImage(t *testing.T, dir string) string {
	t.Helper()
	then := time.Unix(1_700_000_000, 0)
	id := func(n byte) uuid.UUID { return uuid.UUID{n, 1, 2, 3} }
	layout, err := diskimage.NewLayout(diskimage.Request{Size: 96 * diskimage.MiB, Table: diskimage.GPT, ID: id(9),
		Arch: "amd64", Partitions: []diskimage.PartitionRequest{
			{Role: diskimage.RoleESP, Size: 8 * diskimage.MiB,
				Filesystem: diskimage.Filesystem{Type: "vfat", UUID: id(1)}},
			{Role: diskimage.RoleBoot, Size: 16 * diskimage.MiB,
				Filesystem: diskimage.Filesystem{Type: "ext2", UUID: id(2)}},
			{Role: diskimage.RoleRoot, Filesystem: diskimage.Filesystem{Type: "ext4", UUID: id(3)}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	fstab := fmt.Sprintf(
		"# <file system>\nUUID=%s / ext4 errors=remount-ro 0 1\nUUID=%s /boot ext2 defaults 0 2\nUUID=%s /boot/efi vfat umask=0077 0 1\nproc /proc proc defaults 0 0\n",
		id(3), id(2), fat.VolumeID(id(1)))
	trees := [][]diskimage.Entry{
		{diskimage.FileEntry("EFI/BOOT/BOOTX64.EFI", 0o644, []byte("efi program"), then)},
		{diskimage.FileEntry("vmlinuz-1", 0o600, []byte("kernel"), then), diskimage.DirEntry("efi", 0o755, then)},
		{
			diskimage.FileEntry("etc/fstab", 0o644, []byte(fstab), then),
			diskimage.FileEntry("etc/hostname", 0o644, []byte("debian\n"), then),
			diskimage.FileEntry("boot/hidden", 0o644, []byte("below the mount"), then),
			{Name: "vmlinuz", Mode: unix.S_IFLNK | 0o777, Linkname: "boot/vmlinuz-1", ModTime: then},
		},
	}
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{}}
	for i, p := range layout.Partitions {
		tree, err := diskimage.Overlay(diskimage.EmptyTree(then), trees[i]...)
		if err != nil {
			t.Fatal(err)
		}
		formatter := diskimage.Formatter(ext.Formatter{})
		if p.Filesystem.Type == "vfat" {
			formatter = fat.Formatter{}
		}
		if image.Volumes[p.Number], err = formatter.Plan(p.Size, p.Filesystem, tree); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "disk.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(image.Write(t.Context(), f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestExtractCopiesFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testImage(t, dir)
	extract := func(args ...string) error {
		root, _ := newRoot(environment{dir: dir, stat: os.Stat}, io.Discard, io.Discard)
		root.SetArgs(append([]string{"extract", "disk.img"}, args...))
		return root.ExecuteContext(t.Context())
	}
	if err := extract("--path", "/vmlinuz", "--path", "etc/hostname",
		"--path=/boot/efi/EFI/BOOT/BOOTX64.EFI"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"vmlinuz": "kernel", "hostname": "debian\n",
		"BOOTX64.EFI": "efi program"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "vmlinuz")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("vmlinuz has mode %v (%v)", info.Mode(), err)
	}
	if err := extract("--boot"); err != nil {
		t.Fatal(err)
	}
	list := diskimagetest.Run(t, "tar", "-tzf", filepath.Join(dir, "vmextract.tgz"))
	for name, want := range map[string]bool{"./vmlinuz-1": true, "./efi/EFI/BOOT/BOOTX64.EFI": true, "hidden": false,
		"hostname": false} {
		if strings.Contains(list, name) != want {
			t.Errorf("archive of /boot:\n%s%s in it: want %t", list, name, want)
		}
	}
	if err := extract("--directory", "/etc", "--filename", "etc.tar"); err != nil {
		t.Fatal(err)
	}
	if list := diskimagetest.Run(t, "tar", "-tf", filepath.Join(dir, "etc.tar")); !strings.Contains(list, "./fstab") {
		t.Errorf("archive of /etc:\n%s", list)
	}

	for _, tt := range []struct{ args, want string }{
		{"", "nothing to extract"},
		{"--boot --directory /etc", "exclude each other"},
		{"--path /etc", "not a regular file"},
		{"--path /etc/none", "--path: open /etc/none"},
		{"--directory /etc/fstab", "not a directory"},
	} {
		if err := extract(strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q in it", tt.args, err, tt.want)
		}
	}
	if err := extract("--path", "/etc/none", "--path", "etc/fstab"); err == nil {
		t.Error("a missing file is not an error")
	}
	if _, err := os.Stat(filepath.Join(dir, "fstab")); err == nil {
		t.Error("a file was written although another one is missing")
	}
}

// Only raw images could be read, and --image of vmextract was unknown (issue 15, 17).
func TestExtractReadsAllFormats(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw, err := os.Open(testImage(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, f := range format.Formats() {
		name := "disk." + f.Name
		image, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(format.Convert(t.Context(), f.Name, image, raw, format.Options{}), image.Close()); err != nil {
			t.Fatal(err)
		}
		to := environment{dir: t.TempDir(), stat: os.Stat}
		root, _ := newRoot(to, io.Discard, io.Discard)
		root.SetArgs([]string{"extract", "--image", filepath.Join(dir, name), "--path=/boot/efi/EFI/BOOT/BOOTX64.EFI",
			"--path=/vmlinuz"})
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for file, want := range map[string]string{"vmlinuz": "kernel", "BOOTX64.EFI": "efi program"} {
			if got, err := os.ReadFile(filepath.Join(to.dir, file)); err != nil || string(got) != want {
				t.Errorf("%s: %s: got %q (%v), want %q", name, file, got, err, want)
			}
		}
	}
}

// A file of 1 GiB that is one hole filled the disk with zeros (issue 15, 5).
func TestExtractKeepsHoles(t *testing.T) {
	t.Parallel()
	const size, hole = 64 * diskimage.MiB, 1 << 30
	then := time.Unix(1_700_000_000, 0)
	sparse := diskimage.FileEntry("sparse", 0o644, []byte("data"), then)
	sparse.Size, sparse.Data = hole, []diskimage.Extent{{Length: 4096}}
	sparse.Open = func() (diskimage.Content, error) { return sparseContent{}, nil }
	tree, err := diskimage.Overlay(diskimage.EmptyTree(then), sparse)
	if err != nil {
		t.Fatal(err)
	}
	volume, err := ext.Formatter{}.Plan(size, diskimage.Filesystem{Type: "ext4"}, tree)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(int64(size)), volume.Write(t.Context(), f), f.Close()); err != nil {
		t.Fatal(err)
	}
	root, _ := newRoot(environment{dir: dir, stat: os.Stat}, io.Discard, io.Discard)
	root.SetArgs([]string{"extract", "disk.img", "--path", "/sparse"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "sparse"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != hole || st.Blocks*512 > 1<<20 {
		t.Errorf("the file has %d bytes, %d on the disk", st.Size, st.Blocks*512)
	}
}

// sparseContent is one block of data and a hole.
type sparseContent struct{}

func (sparseContent) ReadAt(p []byte, offset int64) (int, error) {
	clear(p)
	if offset == 0 {
		copy(p, "data")
	}
	return len(p), nil
}

func (sparseContent) Close() error { return nil }

func TestExtractRejectsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"disk.qcow2": "QFI\xfb and more" + strings.Repeat("x", 1000),
		"zeros.img": strings.Repeat("\x00", 1<<20)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"disk.qcow2": "not a qcow2 image of version 2 or 3",
		"zeros.img": "neither a disk image nor a tar archive",
		"none.img":  `there is no "none.img"`} {
		root, _ := newRoot(environment{dir: dir, stat: os.Stat}, io.Discard, io.Discard)
		root.SetArgs([]string{"extract", name, "--boot"})
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", name, err, want)
		}
	}
}
