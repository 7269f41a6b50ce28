// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"golang.org/x/sys/unix"
)

// list returns the entries of a tree.
func list(t *testing.T, tree Tree) []Entry {
	t.Helper()
	entries, err := tryList(tree)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func tryList(tree Tree) ([]Entry, error) {
	var entries []Entry
	for e, err := range tree.Entries() {
		if err != nil {
			return entries, err
		}
		e.ModTime = e.ModTime.UTC()
		entries = append(entries, e)
	}
	return entries, nil
}

// names returns the names of entries, with hard links as "name=first".
func names(entries []Entry) string {
	var all []string
	for _, e := range entries {
		name := e.Name
		if e.HardLink != "" {
			name += "=" + e.HardLink
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// content returns the content of an entry.
func content(t *testing.T, e Entry) []byte {
	t.Helper()
	if e.Open == nil {
		return nil
	}
	c, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(io.NewSectionReader(c, 0, e.Size))
	if err != nil {
		t.Fatalf("read %q: %v", e.Name, err)
	}
	if int64(len(b)) != e.Size {
		t.Fatalf("read %q: got %d bytes, want %d", e.Name, len(b), e.Size)
	}
	return b
}

// describe formats everything of an entry in which two trees of the same content must agree.
func describe(t *testing.T, e Entry) string {
	t.Helper()
	sum := sha256.Sum256(content(t, e))
	e.Open, e.Data = nil, nil
	return fmt.Sprintf("%+q content %x", fmt.Sprintf("%+v", e), sum[:4])
}

var testTime = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)

// makeTestDir fills a directory with everything that a file system of Linux can hold, as far as we
// are permitted to.
func makeTestDir(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	at := func(name string) string { return filepath.Join(root, name) }
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"", "a", "a.b", "a/deep/er", "empty", "tmp"} {
		ok(os.MkdirAll(at(dir), 0o755))
	}
	ok(os.Chmod(at("tmp"), 0o777|os.ModeSticky))
	for name, data := range map[string]string{
		"a/file": "content", "a.b/file": "other", "a-b": "minus", "empty file": "",
		"a/deep/er/x": strings.Repeat("x", 100_000),
		"new\nline":   "n", "not-utf8-\xff\xfe": "bytes", strings.Repeat("l", 255): "long",
	} {
		ok(os.WriteFile(at(name), []byte(data), 0o640))
	}
	ok(os.Chmod(at("a/file"), 0o755|os.ModeSetuid))
	ok(os.Link(at("a/file"), at("A-link-that-sorts-first")))
	ok(os.Link(at("a/file"), at("z-link")))
	ok(os.Symlink("/etc/passwd", at("absolute")))
	ok(os.Symlink("../../../outside", at("a/out")))
	ok(os.Symlink(strings.Repeat("t", 200), at("a/longlink")))
	ok(os.Link(at("absolute"), at("absolute-too")))
	ok(unix.Mkfifo(at("fifo"), 0o600))
	ok(unix.Setxattr(at("a/file"), "user.test", []byte("v\x00alue"), 0))
	ok(unix.Setxattr(at("a"), "user.dir", nil, 0))

	sparse, err := os.Create(at("sparse"))
	ok(err)
	ok(sparse.Truncate(3 << 20))
	_, err = sparse.WriteAt([]byte("middle"), 1<<20)
	ok(err)
	ok(sparse.Close())
	ok(os.Truncate(at("empty file"), 0))
	hole, err := os.Create(at("hole"))
	ok(err)
	ok(hole.Truncate(1 << 20))
	ok(hole.Close())

	if os.Geteuid() == 0 {
		makePrivileged(t, at)
	}
	ok(filepath.WalkDir(root, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ts := []unix.Timespec{unix.NsecToTimespec(testTime.UnixNano()), unix.NsecToTimespec(testTime.UnixNano())}
		return unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	}))
	return root
}

// makePrivileged adds files that only root may make.
func makePrivileged(t *testing.T, at func(string) string) {
	t.Helper()
	for name, owner := range map[string]int{"a-b": 1000, "absolute": 70000, "a/deep": 12} {
		if err := os.Lchown(at(name), owner, owner+1); err != nil {
			t.Fatal(err)
		}
	}
	capability := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	if err := unix.Setxattr(at("a-b"), "security.capability", capability, 0); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{"chr": unix.S_IFCHR, "blk": unix.S_IFBLK} {
		err := unix.Mknod(at(name), mode|0o600, int(unix.Mkdev(300, 70000)))
		if errors.Is(err, unix.EPERM) {
			return // root in a container
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tarTestDir archives a directory with GNU tar.
func tarTestDir(t *testing.T, root string, args ...string) Tree {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive.tar")
	args = append([]string{"-C", root, "-cf", name, "--format=posix", "--xattrs", "--xattrs-include=*"}, args...)
	diskimagetest.Run(t, "tar", append(args, ".")...)
	return openTar(t, name)
}

func openTar(t *testing.T, name string) Tree {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := NewTarTree(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestDirTreeAndTarTreeAgree(t *testing.T) {
	t.Parallel()
	root := makeTestDir(t)
	want := list(t, NewDirTree(root))
	for _, args := range [][]string{{"--sort=name"}, {"--sparse", "--sort=none"}, {"--sparse", "--sparse-version=0.1"},
		{"--sparse", "--sparse-version=0.0"}} {
		got := list(t, tarTestDir(t, root, args...))
		if names(got) != names(want) {
			t.Fatalf("tar %q: names: got\n%q\nwant\n%q", args, names(got), names(want))
		}
		for i := range want {
			if g, w := describe(t, got[i]), describe(t, want[i]); g != w {
				t.Errorf("tar %q: got\n%s\nwant\n%s", args, g, w)
			}
		}
	}
}

func TestTarTreeReadsGNUFormat(t *testing.T) {
	t.Parallel()
	root := makeTestDir(t)
	got := list(t, tarTestDir(t, root, "--format=gnu", "--no-xattrs", "--sparse"))
	want := list(t, NewDirTree(root))
	if names(got) != names(want) {
		t.Fatalf("names: got\n%q\nwant\n%q", names(got), names(want))
	}
	for i := range want {
		if g, w := content(t, got[i]), content(t, want[i]); !bytes.Equal(g, w) {
			t.Errorf("%q: content differs", want[i].Name)
		}
	}
}

func TestTreesAreSortedAndRepeatable(t *testing.T) {
	t.Parallel()
	root := makeTestDir(t)
	for name, tree := range map[string]Tree{"dir": NewDirTree(root), "tar": tarTestDir(t, root, "--sort=none")} {
		entries := list(t, tree)
		if entries[0].Name != "." {
			t.Errorf("%s: the first entry is %q, want the root", name, entries[0].Name)
		}
		if !slices.IsSortedFunc(entries, func(a, b Entry) int { return comparePaths(a.Name, b.Name) }) {
			t.Errorf("%s: not in order: %q", name, names(entries))
		}
		seen := map[string]bool{".": true}
		for _, e := range entries {
			if !seen[parentOf(e.Name)] {
				t.Errorf("%s: %q comes before its directory", name, e.Name)
			}
			if e.HardLink != "" && (!seen[e.HardLink] || e.Open != nil) {
				t.Errorf("%s: hard link %q to %q violates the contract of Tree", name, e.Name, e.HardLink)
			}
			seen[e.Name] = true
		}
		if again := list(t, tree); names(again) != names(entries) {
			t.Errorf("%s: the second reading differs", name)
		}
	}
}

func TestTreeReadingMayStopEarly(t *testing.T) {
	t.Parallel()
	root := makeTestDir(t)
	base := NewDirTree(root)
	over, err := Overlay(base, FileEntry("zz", 0o644, nil, testTime))
	if err != nil {
		t.Fatal(err)
	}
	all := func(Entry) bool { return true }
	for name, tree := range map[string]Tree{
		"dir": base, "tar": tarTestDir(t, root), "overlay": over, "filter": Filter(base, all),
		"subtree": Subtree(base, "a"),
		"clamp":   Clamp(base, testTime),
	} {
		for stop := range 4 {
			n := 0
			for range tree.Entries() {
				if n++; n > stop {
					break
				}
			}
			if n != stop+1 {
				t.Errorf("%s: got %d entries, want %d", name, n, stop+1)
			}
		}
	}
}

func TestComparePathsOrdersContentAfterItsDirectory(t *testing.T) {
	t.Parallel()
	want := []string{".", "a", "a/b", "a/b/c", "a/c", "a!", "a-b", "a.b", "a.b/x", "ab", "b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, comparePaths)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
