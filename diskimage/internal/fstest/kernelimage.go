// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

var makeImages = flag.Bool("make-images", false,
	"make the images in testdata again; needs root, loop devices and the kernel")

// KernelImage is a file system that the kernel has written, for what no mkfs program writes. It is in testdata, and
// can be made again with -make-images.
type KernelImage struct {
	Name string // of the file in testdata, without its suffix
	Size diskimage.Size
	Mkfs []string // without the name of the image
	// Mount are the options of mount(8) for each part of the tree.
	Mount []string
	// Parts are written one after the other.
	Parts []Tree
	// Script is run in the mounted file system at the end.
	Script string
}

// Open returns the image.
func (k KernelImage) Open(t testing.TB) Memory {
	t.Helper()
	name := filepath.Join("testdata", k.Name+".zst")
	if *makeImages {
		k.write(t, name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	image, err := z.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// write makes the image.
func (k KernelImage) write(t testing.TB, name string) {
	t.Helper()
	image, dir := diskimagetest.SparseFile(t, int64(k.Size)), t.TempDir()
	diskimagetest.Run(t, k.Mkfs[0], append(k.Mkfs[1:], image)...)
	for i, part := range k.Parts {
		var archive bytes.Buffer
		if err := tarfile.WriteSparse(t.Context(), &archive, part); err != nil {
			t.Fatal(err)
		}
		tar := filepath.Join(t.TempDir(), "tar")
		if err := os.WriteFile(tar, archive.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		script := `set -e; mount -o loop,"$1" "$2" "$3"; trap 'umount "$3"' EXIT; cd "$3"; ` +
			`tar --extract --sparse --numeric-owner --same-permissions --xattrs --xattrs-include='*' --file "$4"` + "\n"
		if i == len(k.Parts)-1 {
			script += k.Script
		}
		// In a namespace of its own, nobody else keeps the file system mounted.
		diskimagetest.Run(t, "unshare", "--mount", "sh", "-c", script+"\ncd /", "sh", k.Mount[i], image, dir, tar)
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, z.EncodeAll(data, nil), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Structures returns a tree without anything that is hard to compress, for a KernelImage: all types of files, large
// directories, many extents, attributes in all places.
func Structures() Tree {
	tree := slices.DeleteFunc(Small(2100), func(e diskimage.Entry) bool {
		return e.Name == "etc/socket" || // no tar archive can have one
			e.Name == "etc/long" // longer than a link on XFS may be
	})
	several := File("several", []byte("x"))
	for _, n := range []int{1, 30, 200, 900} {
		several.Xattrs = append(several.Xattrs, diskimage.Xattr{Name: fmt.Sprintf("user.%03d", n),
			Value: bytes.Repeat([]byte{byte(n)}, n)})
	}
	acls := Dir("acl")
	const noID = 1<<32 - 1
	acls.Xattrs = []diskimage.Xattr{{Name: "system.posix_acl_access", Value: ACL([3]uint32{1, 7, noID},
		[3]uint32{2, 7, 1000}, [3]uint32{4, 5, noID}, [3]uint32{16, 5, noID}, [3]uint32{32, 5, noID})}}
	var everySecond []int64
	for i := range int64(400) {
		everySecond = append(everySecond, i*8192)
	}
	tree = append(tree, several, acls, Sparse("extents", 400*8192, 1, everySecond...), Sparse("sparse", 9<<20, 1, 6<<20))
	tree = append(tree, ManyFiles("long", 40, 254)...)
	return append(tree, ManyFiles("many", 1200, 12)...)
}
