// SPDX-License-Identifier: Apache-2.0

package tarfile_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// sparseDir returns a directory with sparse files of all shapes, most of which are at the end of a long name.
func sparseDir(t *testing.T, hole int64) string {
	t.Helper()
	dir := t.TempDir()
	deep := filepath.Join(dir, strings.Repeat("d", 90), strings.Repeat("ü", 60))
	write := func(name string, size int64, parts map[int64]string) {
		name = filepath.Join(dir, name)
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Truncate(size)
		for at, text := range parts {
			_, writeErr := f.WriteAt([]byte(text), at)
			err = errors.Join(err, writeErr)
		}
		if err = errors.Join(err, f.Close(), os.Chtimes(name, testTime, testTime)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(dir, deep)
	if err != nil {
		t.Fatal(err)
	}
	write("hole", hole, nil)
	write(rel+"/start", hole+1, map[int64]string{0: "start"})
	write(rel+"/end", hole+77, map[int64]string{hole + 70: "the end"})
	write(rel+"/middle", hole, map[int64]string{hole/2 - 3: "middle", hole/2 + 5<<20: "more"})
	write("zeros", 3<<20, map[int64]string{0: strings.Repeat("\x00", 3<<20)}) // stored, and no hole
	write("small", 900<<10, nil)
	write("after", 5, map[int64]string{0: "after"})
	return dir
}

// A hole of 20 GB became 21.6 GB of zeros (issue 14, 14).
func TestSparseFilesStaySparse(t *testing.T) {
	t.Parallel()
	const hole = 20 << 30
	dir := sparseDir(t, hole)
	tree := diskimage.NewDirTree(dir)
	var b bytes.Buffer
	if err := tarfile.WriteSparse(t.Context(), &b, tree); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 2<<20 {
		t.Errorf("the archive has %d bytes", b.Len())
	}
	want := map[string]int64{}
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if e.IsRegular() {
			want["./"+e.Name] = e.Size
		}
	}
	r := tar.NewReader(bytes.NewReader(b.Bytes()))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if size, ok := want[h.Name]; !ok || size != h.Size || !h.ModTime.Equal(testTime) {
			t.Errorf("archive/tar: %q of %d bytes and %v, want %d bytes", h.Name, h.Size, h.ModTime, size)
		}
		delete(want, h.Name)
	}
	if len(want) > 0 {
		t.Errorf("archive/tar: %v are missing", want)
	}
	read, err := diskimage.NewTarTree(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	index, err := diskimage.NewIndex(read)
	if err != nil {
		t.Fatal(err)
	}
	if e := index["hole"]; e.Size != hole || len(e.Data) != 0 || e.Data == nil {
		t.Errorf("NewTarTree: %d bytes, data %v", e.Size, e.Data)
	}
}

func TestOtherProgramsExtractSparseFiles(t *testing.T) {
	t.Parallel()
	const hole = 40 << 20
	dir := sparseDir(t, hole)
	name := filepath.Join(t.TempDir(), "x.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tarfile.WriteSparse(t.Context(), f, diskimage.NewDirTree(dir)), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"tar", "bsdtar"} {
		out := t.TempDir()
		diskimagetest.Run(t, "env", "LC_ALL=C.UTF-8", diskimagetest.Tool(t, program), "-xf", name, "-C", out)
		diskimagetest.Run(t, "diff", "--recursive", dir, out)
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(out, "hole"), &st); err != nil || st.Size != hole || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: %d bytes, %d on the disk (%v)", program, st.Size, st.Blocks*512, err)
		}
	}
}

// Layers of container images hold no sparse files, and how a file system stores zeros makes no difference.
func TestHolesAreAMatterOfContent(t *testing.T) {
	t.Parallel()
	dir := sparseDir(t, 8<<20)
	archive := func(dir string, write func(*bytes.Buffer, diskimage.Tree) error) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b, diskimage.NewDirTree(dir)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	sparse := func(b *bytes.Buffer, tree diskimage.Tree) error { return tarfile.WriteSparse(t.Context(), b, tree) }
	dense := func(b *bytes.Buffer, tree diskimage.Tree) error { return tarfile.Write(t.Context(), b, tree) }
	if bytes.Contains(archive(dir, dense), []byte("GNU.sparse")) {
		t.Error("Write writes sparse files")
	}
	full := filepath.Join(t.TempDir(), "full")
	diskimagetest.Run(t, "cp", "--archive", "--sparse=never", dir, full)
	if !bytes.Equal(archive(dir, sparse), archive(full, sparse)) {
		t.Error("the archive depends on how zeros are stored")
	}
}
