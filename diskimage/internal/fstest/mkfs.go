// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// Mkfs is a program that makes a file system of a directory, and the reader that it judges.
type Mkfs struct {
	Name string
	// Size is the length of the file for the program; 0 if the program creates it.
	Size diskimage.Size
	// Command is the program with its arguments.
	Command func(dir, image string) []string
	Open    Open
	// Known clears the fields of an entry that the file system or the program cannot record.
	Known func(e *diskimage.Entry)
	// NoHoles is set if the program writes holes as data.
	NoHoles bool
}

// TestMkfs makes file systems of a tree, and compares what is read with it.
func TestMkfs(t *testing.T, tree Tree, all ...Mkfs) {
	source := NewDirectory(t, tree)
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			image, err := os.Open(source.Make(t, m.Size, m.Command))
			if err != nil {
				t.Fatal(err)
			}
			defer image.Close()
			got, err := m.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			CompareTrees(t, got, tree, m.Known)
			if !m.NoHoles {
				checkHoles(t, got, tree)
			}
		})
	}
}

// Directory is a directory with the files of a tree. fakeroot(1) gives them the owners, devices and attributes that
// only root could; state has these.
type Directory struct {
	dir, state string
	// attributes are commands, because fakeroot does not keep attributes in its file.
	attributes strings.Builder
}

// NewDirectory makes a directory of a tree.
func NewDirectory(t testing.TB, tree Tree) *Directory {
	t.Helper()
	work := t.TempDir()
	d := &Directory{dir: filepath.Join(work, "tree"), state: filepath.Join(work, "state")}
	var script strings.Builder
	for _, e := range tree {
		if err := d.create(e); err != nil {
			t.Fatal(err)
		}
		d.describe(&script, e)
	}
	name := filepath.Join(work, "script")
	if err := os.WriteFile(name, []byte("set -e\n"+script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "fakeroot", "-s", d.state, "sh", name)
	for _, e := range slices.Backward(tree) {
		// Access times are later than all others, so that reading does not change them (relatime): mksquashfs would take
		// the names of a file for those of two.
		access := time.Now().Add(time.Hour)
		times := []unix.Timespec{unix.NsecToTimespec(access.UnixNano()), unix.NsecToTimespec(e.ModTime.UnixNano())}
		err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(d.dir, e.Name), times, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// Make makes a file system of the directory and returns the name of the image.
func (d *Directory) Make(t testing.TB, size diskimage.Size, command func(dir, image string) []string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if size > 0 {
		if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(size))); err != nil {
			t.Fatal(err)
		}
	}
	args := command(d.dir, image)
	args[0] = diskimagetest.Tool(t, args[0])
	run := []string{"-i", d.state, "sh", "-c", "set -e\n" + d.attributes.String() + `exec "$@"`, "sh"}
	diskimagetest.Run(t, "fakeroot", append(run, args...)...)
	return image
}

// special are the permissions that only the owner of a file may set.
const special = 0o7000

// create makes a file as far as an ordinary user can.
func (d *Directory) create(e diskimage.Entry) error {
	name := filepath.Join(d.dir, e.Name)
	if e.HardLink != "" {
		if kind := e.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
			return nil
		}
		return os.Link(filepath.Join(d.dir, e.HardLink), name)
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return os.Mkdir(name, 0o755) // until it is full
	case unix.S_IFLNK:
		return os.Symlink(e.Linkname, name)
	case unix.S_IFIFO, unix.S_IFSOCK:
		return unix.Mknod(name, e.Mode, 0)
	case unix.S_IFREG:
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		err = errors.Join(f.Truncate(e.Size), f.Chmod(os.FileMode(e.Mode&0o777)))
		if e.Open != nil && err == nil {
			err = writeRanges(f, e)
		}
		return errors.Join(err, f.Close())
	}
	return nil
}

func writeRanges(f *os.File, e diskimage.Entry) error {
	c, err := e.Open()
	if err != nil {
		return err
	}
	for _, x := range e.DataRanges() {
		data := make([]byte, x.Length)
		if n, err := c.ReadAt(data, x.Offset); int64(n) < x.Length {
			return err
		}
		if _, err := f.WriteAt(data, x.Offset); err != nil {
			return err
		}
	}
	return c.Close()
}

// describe writes the commands for fakeroot. Files that it does not know belong to root.
func (d *Directory) describe(script *strings.Builder, e diskimage.Entry) {
	quote := func(name string) string {
		return "'" + strings.ReplaceAll(filepath.Join(d.dir, name), "'", `'\''`) + "'"
	}
	name, kind := quote(e.Name), map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[e.Mode&unix.S_IFMT]
	if e.HardLink != "" {
		if kind != "" {
			fmt.Fprintf(script, "ln %s %s\n", quote(e.HardLink), name)
		}
		return
	}
	if kind != "" {
		fmt.Fprintf(script, "mknod %s %s %d %d\n", name, kind, e.Major, e.Minor)
	}
	if e.UID != 0 || e.GID != 0 || len(e.Xattrs) > 0 { // with attributes, fakeroot takes the real owner
		fmt.Fprintf(script, "chown -h %d:%d %s\n", e.UID, e.GID, name)
	}
	if !e.IsRegular() && e.Mode&unix.S_IFMT != unix.S_IFLNK || e.Mode&special != 0 {
		fmt.Fprintf(script, "chmod %04o %s\n", e.Mode&0o7777, name)
	}
	for _, x := range e.Xattrs {
		fmt.Fprintf(&d.attributes, "setfattr -h -n %s -v 0x%x %s\n", x.Name, x.Value, name)
	}
}

// CompareTrees compares a tree with the one that was written. known clears the fields of an entry that are not
// compared; added are names that are there besides those of the tree.
func CompareTrees(t *testing.T, tree, written diskimage.Tree, known func(*diskimage.Entry), added ...string) {
	t.Helper()
	got, want := Flatten(t, tree), Flatten(t, written)
	for _, name := range added {
		delete(got, name)
	}
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			t.Errorf("%q is missing", name)
			continue
		}
		if g.Content != w.Content {
			t.Errorf("%q: content differs (%d bytes, want %d)", name, len(g.Content), len(w.Content))
		}
		known(&g.Entry)
		known(&w.Entry)
		if !reflect.DeepEqual(g.Entry, w.Entry) {
			t.Errorf("%q: got %+v, want %+v", name, g.Entry, w.Entry)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q is not in the tree", name)
		}
	}
}

// checkHoles reports files with long holes that are read as data.
func checkHoles(t *testing.T, tree diskimage.Tree, written Tree) {
	t.Helper()
	const long = 4 << 20
	length := func(e diskimage.Entry) (n int64) {
		for _, x := range e.DataRanges() {
			n += x.Length
		}
		return n
	}
	index, err := diskimage.NewIndex(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range written {
		if got := length(index[w.Name]); w.Size-length(w) > long && got > w.Size/2 {
			t.Errorf("%q: %d of %d bytes are data, want %d", w.Name, got, w.Size, length(w))
		}
	}
}

// TestDamage changes a few bytes of an image, rounds times, and reads the whole file system: each time it ends, with
// or without an error.
func (o Open) TestDamage(t *testing.T, image Memory, rounds int) {
	t.Helper()
	used := image.used()
	random := rand.New(rand.NewPCG(1, 2))
	bad := bytes.Clone(image)
	for range rounds {
		var changed []int
		for range 1 + random.IntN(4) {
			at := used[random.IntN(len(used))]
			bad[at] = byte(random.Uint32())
			changed = append(changed, at)
		}
		if tree, err := o(bytes.NewReader(bad)); err == nil {
			readSome(t, tree)
		}
		for _, at := range changed {
			bad[at] = image[at]
		}
	}
}
