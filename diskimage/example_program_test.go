// SPDX-License-Identifier: Apache-2.0

package diskimage_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// A program that turns a tar archive into the disk of a virtual machine: GPT and one ext4, half as
// large again as its content needs, written directly into a qcow2 file.
func Example_tarToQcow2() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "disk.qcow2")
	archive := exampleArchive()
	if err := tarToQcow2(context.Background(), name, bytes.NewReader(archive), int64(len(archive))); err != nil {
		fmt.Println(err)
		return
	}
	head := make([]byte, 4)
	f, err := os.Open(name)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", head)
	// Output:
	// partition 1 (root) of 15MiB on a disk of 17MiB
	// "QFI\xfb"
}

func tarToQcow2(ctx context.Context, name string, archive *bytes.Reader, length int64) error {
	tree, err := diskimage.NewTarTree(archive, length)
	if err != nil {
		return err
	}
	id := uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001") // for a real disk: uuid.New()
	root := diskimage.Filesystem{Type: "ext4", Label: "root", UUID: diskimage.DeriveID(id, "/"),
		Time: time.Unix(1700000000, 0)}
	size, err := ext.MinimumSize(root, tree, 0)
	if err != nil {
		return err
	}
	request := diskimage.Request{
		Table: diskimage.GPT, Arch: "amd64", ID: id,
		Partitions: []diskimage.PartitionRequest{{Role: diskimage.RoleRoot, Filesystem: root}},
	}
	request.Size = request.DiskSize(size + size/2)
	layout, err := diskimage.NewLayout(request)
	if err != nil {
		return err
	}
	p := layout.Partitions[0]
	volume, err := ext.Formatter{}.Plan(p.Size, p.Filesystem, tree)
	if err != nil {
		return err
	}
	fmt.Printf("%s of %s on a disk of %s\n", p, p.Size, layout.Size)
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{p.Number: volume}}
	return diskimage.WriteFile(ctx, name, 0o644, func(f *os.File) error {
		return format.Write(ctx, []format.Output{{File: f, Format: format.Qcow2}}, filepath.Dir(name), image)
	})
}

// exampleArchive returns a tar archive of a directory that holds a file of 5 MiB.
func exampleArchive() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)
	for _, h := range []tar.Header{
		{Name: "srv/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "srv/data", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))},
	} {
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
	}
	if _, err := w.Write(content); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// The firmware of a board is placed before the first partition. Whether it fits is known before
// anything is built.
func ExampleLayout_CheckFree() {
	layout, err := diskimage.NewLayout(diskimage.Request{
		Size: 1 * diskimage.GiB, Table: diskimage.MSDOS, Offset: 16 * diskimage.MiB,
		ID:         uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001"),
		Partitions: []diskimage.PartitionRequest{{Role: diskimage.RoleRoot}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	spl := diskimage.Claim{Extent: diskimage.Extent{Offset: 8 << 10, Length: 40 << 10}, What: "SPL"}
	uboot := diskimage.Claim{Extent: diskimage.Extent{Offset: 40 << 10, Length: 800 << 10}, What: "U-Boot"}
	fmt.Println(layout.CheckFree([]diskimage.Claim{spl}))
	fmt.Println(layout.CheckFree([]diskimage.Claim{spl, uboot}))
	// Output:
	// <nil>
	// SPL (bytes 8192 to 49151) and U-Boot (bytes 40960 to 860159) overlap
}
