// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// TestAssemblyIsTheSameFromEverySource has the same files as a tarball, as a container image of three layers, and as an
// archive of it.
func TestAssemblyIsTheSameFromEverySource(t *testing.T) {
	t.Parallel()
	states := []map[string]string{bootable(), bootable(), bootable()}
	states[0]["gone"], states[0]["d/e/gone"], states[1]["d/f"] = "", "x", "one"
	states[2]["d/f"], states[2]["big"] = "two", strings.Repeat("some text ", 100_000)
	dir := t.TempDir()
	layout, err := ociimage.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	var lower diskimage.Tree
	for _, files := range states {
		upper := memoryTree(t, files)
		if err := layout.AddLayer(t.Context(), ociimage.Difference(lower, upper), "",
			ociimage.Compression{Method: tarfile.Gzip}); err != nil {
			t.Fatal(err)
		}
		lower = upper
	}
	image := ociimage.Image{Created: treeTime, Platform: platform(debian.Arch{Name: "amd64"})}
	if _, err := layout.Finish(image); err != nil {
		t.Fatal(err)
	}
	create := func(name string, write func(*os.File) error) {
		t.Helper()
		if err := diskimage.WriteFile(t.Context(), filepath.Join(dir, name), 0o644, write); err != nil {
			t.Fatal(err)
		}
	}
	create("image.tar", func(f *os.File) error {
		return ociimage.WriteArchive(t.Context(), f, filepath.Join(dir, "image"), "tag", treeTime)
	})
	create("root.tar", func(f *os.File) error { return tarfile.Write(t.Context(), f, lower) })
	var first []byte
	for _, text := range []string{"root.tar", "oci:image", "oci-archive:image.tar", "oci-archive:image.tar:tag"} {
		a := newAssembly(t, func(o *Options) { o.Boot, o.Bootsize, o.Bmap = boot.WordNone, 20*diskimage.MiB, true })
		a.World.Dir = dir
		s, err := ParseSource(text, a.World)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := s.Open(t.Context(), SourceOptions{World: a.World, TempDir: dir, Arch: "amd64"})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(a.Write(t.Context(), tree), tree.Close()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		data, err := os.ReadFile(a.Options.Image)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		}
		if !bytes.Equal(data, first) {
			t.Errorf("%s: another image than that of the tarball", text)
		}
	}
}

// An existing image was refused as "no tar archive" (issue 18, 6). Made of itself, in any format and compression, it
// is the same image again.
func TestAssemblyOfADiskImageIsTheSameImage(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["etc/fstab"] = "tmpfs /tmp tmpfs size=1G 0 0\n"
	a := newAssembly(t, func(o *Options) { o.Boot, o.Bootsize = boot.WordNone, 20*diskimage.MiB })
	a.World.Dir = filepath.Dir(a.Options.Image)
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.Open(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	create := func(name string, write func(*os.File) error) {
		t.Helper()
		if err := diskimage.WriteFile(t.Context(), filepath.Join(a.World.Dir, name), 0o644, write); err != nil {
			t.Fatal(err)
		}
	}
	create("disk.qcow2", func(f *os.File) error {
		return format.Convert(t.Context(), format.Qcow2, f, raw, format.Options{})
	})
	create("disk.img.zst", func(f *os.File) error {
		w, err := tarfile.Compress(f, "disk.img.zst", 0)
		if err != nil {
			return err
		}
		_, err = w.Write(want)
		return errors.Join(err, w.Close())
	})
	a.Options.Image = filepath.Join(a.World.Dir, "again.img")
	for _, text := range []string{"disk.img", "disk:disk.img", "disk.qcow2", "disk.img.zst"} {
		s, err := ParseSource(text, a.World)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := s.Open(t.Context(), SourceOptions{World: a.World, TempDir: a.World.Dir, Arch: "amd64"})
		if err != nil {
			t.Fatal(err)
		}
		a.MountPoints = tree.MountPoints
		if err := errors.Join(a.Write(t.Context(), tree), tree.Close()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := os.ReadFile(a.Options.Image); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another image (%v)", text, err)
		}
	}
}

// The files of a separate /home are in the tree: a line of fstab for its partition would stop the boot (issue 18, 6).
func TestAssemblyOfADiskImageForgetsItsPartitions(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["etc/fstab"] = "UUID=old /home/ ext4 defaults 0 2\nserver:/x /srv nfs defaults 0 0\n"
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	a.MountPoints = []string{"/boot", "/home"}
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	got := written(t, a, "etc/fstab")["etc/fstab"]
	if strings.Contains(got, "old") || !strings.Contains(got, "server:/x /srv") {
		t.Errorf("/etc/fstab:\n%s", got)
	}
}

func TestSourcesAreToldApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "f:1.tar"), nil,
		0o644), os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	w := World{Stat: os.Stat, Dir: dir}
	for text, want := range map[string]Source{
		"-": {transport.File, "-", ""}, "f": {transport.File, "f", ""}, "./f:1.tar": {transport.File, "./f:1.tar", ""},
		"f:1.tar": {transport.File, "f:1.tar", ""}, "disk:f": {transport.Disk, "f", ""},
		"d":     {transport.Dir, "d", ""},
		"tar:f": {transport.Tar, "f", ""}, "oci:d:tag": {transport.OCI, "d", "tag"},
		"docker-archive:f:debian:13": {transport.DockerArchive, "f", "debian:13"},
		"docker://debian": {transport.Docker, "",
			"docker.io/library/debian:latest"},
		"docker://localhost:5000/os/debian:13": {transport.Docker, "", "localhost:5000/os/debian:13"},
		"docker://r.example/x@sha256:" + strings.Repeat("0", 64): {transport.Docker, "",
			"r.example/x@sha256:" + strings.Repeat("0", 64)},
	} {
		if got, err := ParseSource(text, w); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"none": `there is no "none": choose from FILE`, "tar:d": "is a directory", "oci:f": "is not a directory",
		"oci-archive:": "names no file", "docker:debian": "docker://REGISTRY",
		"docker://Not A Name": "is no name of an image", "ext4:x": "is none of FILE, -,",
	} {
		if _, err := ParseSource(text, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
		}
	}
}

// damagedTree is a tree with an error after its root.
type damagedTree struct{ err error }

func (d damagedTree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		if yield(diskimage.DirEntry(".", 0o755, treeTime), nil) {
			yield(diskimage.Entry{}, d.err)
		}
	}
}

// An inode with a wrong checksum was an error that did not say of which file (issue 18, 6).
func TestAssemblyOfADamagedDiskNamesItsSource(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	err := a.Write(t.Context(), damagedTree{errors.New("bin/sh: inode 12: damaged")})
	if err == nil || err.Error() != "--from: bin/sh: inode 12: damaged" {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(a.Options.Image), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestImagesAreNotTakenForTarballs(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	err := a.Write(t.Context(), memoryTree(t, map[string]string{"oci-layout": "", "blobs/sha256/00": ""}))
	if err == nil || !strings.Contains(err.Error(), "--from: ") || !strings.Contains(err.Error(), "oci-archive:") {
		t.Errorf("got %v", err)
	}
}
