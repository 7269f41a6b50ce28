// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

var treeTime = time.Unix(1_700_000_000, 0).UTC()

// memoryTree is a tree of files by name; "-> TEXT" is a symbolic link, and a name with a slash at its end a directory.
func memoryTree(t *testing.T, files map[string]string) diskimage.Tree {
	t.Helper()
	var entries []diskimage.Entry
	for name, text := range files {
		switch target, link := strings.CutPrefix(text, "-> "); {
		case link:
			entries = append(entries, diskimage.SymlinkEntry(name, target, treeTime))
		case strings.HasSuffix(name, "/"):
			entries = append(entries, diskimage.DirEntry(strings.TrimSuffix(name, "/"), 0o755, treeTime))
		default:
			entries = append(entries, diskimage.FileEntry(name, 0o640, []byte(text), treeTime))
		}
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(treeTime), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func memoryFiles(t *testing.T, files map[string]string) *target.Memory {
	t.Helper()
	f, err := target.NewMemory(memoryTree(t, files), treeTime)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// treeNames lists a tree; " = " shows a hard link.
func treeNames(t *testing.T, tree diskimage.Tree) []string {
	t.Helper()
	var names []string
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		name := e.Name
		if e.HardLink != "" {
			name += " = " + e.HardLink
		}
		names = append(names, name)
	}
	return names
}

func TestTreeFilesStayInsideOfTheTree(t *testing.T) {
	t.Parallel()
	f := memoryFiles(t, map[string]string{
		"usr/lib/x": "old", "lib": "-> usr/lib", "etc": "-> /real/etc", "real/etc/": "",
		"out":  "-> ../../../../etc/passwd",
		"var/": "", "boot/vmlinuz-1": "k", "boot/vmlinuz": "-> vmlinuz-1",
	})
	for name, text := range map[string]string{"/lib/x": "new", "/etc/fstab": "f", "/out": "mine"} {
		if err := f.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := f.ReadFile(name); err != nil || string(got) != text {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if err := f.MkdirAll("/lib/a/b", 0o755); err != nil {
		t.Error(err)
	}
	if err := f.Symlink("x", "/usr/lib/a/b/link"); err != nil {
		t.Error(err)
	}
	if err := f.RemoveAll("/var"); err != nil {
		t.Error(err)
	}
	if err := f.Remove("/nowhere/at/all"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]error{"/boot": unix.EISDIR, "/nowhere/x": fs.ErrNotExist,
		"/usr/lib/x/y": unix.ENOTDIR} {
		if err := f.WriteFile(name, nil, 0o600); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	tree, err := f.Tree()
	if err != nil {
		t.Fatal(err)
	}
	want := ". boot boot/vmlinuz boot/vmlinuz-1 etc lib out real real/etc real/etc/fstab usr usr/lib usr/lib/a usr/lib/a/b usr/lib/a/b/link usr/lib/x"
	if got := strings.Join(treeNames(t, tree), " "); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if kernels, err := target.BootFiles(f, "vmlinuz"); err != nil || !slices.Equal(kernels, []string{"vmlinuz-1"}) {
		t.Errorf("kernels: %q, %v", kernels, err)
	}
}

func TestTreeFilesKeepTheOtherNamesOfAFile(t *testing.T) {
	t.Parallel()
	tree, err := diskimage.Overlay(memoryTree(t, map[string]string{"a": "text"}),
		diskimage.Entry{Name: "b", Mode: unix.S_IFREG | 0o640, HardLink: "a", Size: 4})
	if err != nil {
		t.Fatal(err)
	}
	f, err := target.NewMemory(tree, treeTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile("/a", []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ReadFile("/b"); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if tree, err = f.Tree(); err != nil {
		t.Fatal(err)
	}
	if got := treeNames(t, tree); !slices.Equal(got, []string{".", "a", "b"}) {
		t.Errorf("got %q", got)
	}
}
