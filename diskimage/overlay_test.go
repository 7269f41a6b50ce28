// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// baseTree returns a small tree in memory: names as in names(), a final slash for a directory, "@"
// for a link.
func baseTree(specs ...string) Tree {
	tree := entriesTree{DirEntry(".", 0o700, testTime)}
	files := map[string]Entry{}
	for _, spec := range specs {
		name, first, linked := strings.Cut(spec, "=")
		switch {
		case linked:
			e := files[first]
			e.Name, e.HardLink, e.Open = name, first, nil
			tree = append(tree, e)
		case strings.HasSuffix(name, "/"):
			tree = append(tree, DirEntry(strings.TrimSuffix(name, "/"), 0o700, testTime))
		case strings.HasSuffix(name, "@"):
			tree = append(tree, SymlinkEntry(strings.TrimSuffix(name, "@"), "target", testTime))
		default:
			e := FileEntry(name, 0o600, []byte("base "+name), testTime)
			files[name] = e
			tree = append(tree, e)
		}
	}
	return tree
}

func TestOverlayAddsAndReplaces(t *testing.T) {
	t.Parallel()
	file := func(name string) Entry { return FileEntry(name, 0o644, []byte("new"), testTime) }
	for _, c := range []struct {
		name string
		base Tree
		add  []Entry
		want string
	}{
		{"nothing", baseTree("a"), nil, ". a"},
		{"between", baseTree("a", "c"), []Entry{file("b")}, ". a b c"},
		{"end", baseTree("a"), []Entry{file("z"), file("y")}, ". a y z"},
		{"replace", baseTree("a", "b"), []Entry{file("a")}, ". a b"},
		{"parents", baseTree("boot/", "boot/vmlinuz"), []Entry{file("./boot/grub/x/cfg"), file("/EFI/B")},
			". EFI EFI/B boot boot/grub boot/grub/x boot/grub/x/cfg boot/vmlinuz"},
		{"file over directory", baseTree("d/", "d/x", "d/y/", "d/y/z", "e"), []Entry{file("d")}, ". d e"},
		{"directory over directory", baseTree("d/", "d/x"), []Entry{DirEntry("d", 0o711, testTime)}, ". d d/x"},
		{"first name of a file", baseTree("a", "b=a", "c=a"), []Entry{file("a")}, ". a b c=b"},
		{"second name of a file", baseTree("a", "b=a", "c=a"), []Entry{file("b")}, ". a b c=a"},
		{"into the empty tree", EmptyTree(testTime), []Entry{file("x/y")}, ". x x/y"},
	} {
		tree, err := Overlay(c.base, c.add...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		entries := list(t, tree)
		if got := names(entries); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		for _, e := range entries {
			want := "base " + e.Name
			for _, a := range c.add {
				if n, _ := cleanName(a.Name); n == e.Name {
					want = "new"
				}
			}
			if c.name == "first name of a file" && e.Name == "b" {
				want = "base a"
			}
			if e.Open != nil && string(content(t, e)) != want {
				t.Errorf("%s: %s holds %q, want %q", c.name, e.Name, content(t, e), want)
			}
		}
	}
}

func TestOverlayKeepsDirectoriesThatExist(t *testing.T) {
	t.Parallel()
	tree, err := Overlay(baseTree("boot/"), FileEntry("boot/new/x", 0o600, nil, testTime.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	entries := list(t, tree)
	if got := entries[1]; got.Mode != unix.S_IFDIR|0o700 || !got.ModTime.Equal(testTime) {
		t.Errorf("boot: got mode %o and time %v, want those of the base", got.Mode, got.ModTime)
	}
	if got := entries[2]; got.Mode != unix.S_IFDIR|0o755 || !got.ModTime.Equal(testTime.Add(time.Hour)) {
		t.Errorf("boot/new: got mode %o and time %v, want 0755 and the time of the file", got.Mode, got.ModTime)
	}
}

func TestOverlayRejectsConflictingEntries(t *testing.T) {
	t.Parallel()
	file := func(name string) Entry { return FileEntry(name, 0o644, nil, testTime) }
	for part, add := range map[string][]Entry{
		`"../x" leads out`:                   {file("../x")},
		`"a/../../x" leads out`:              {file("a/../../x")},
		`"x": added twice`:                   {file("x"), file("./x")},
		`root must be a directory`:           {file("/")},
		`"f" is also added and is not a dir`: {file("f"), file("f/g")},
	} {
		if _, err := Overlay(EmptyTree(testTime), add...); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
	tree, err := Overlay(baseTree("boot@"), file("boot/grub/x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryList(tree); err == nil || !strings.Contains(err.Error(), `"boot" is not a directory`) {
		t.Errorf("file below a symbolic link: got %v", err)
	}
}

func TestFilterLeavesOutSubtrees(t *testing.T) {
	t.Parallel()
	base := baseTree("a", "b=a", "proc/", "proc/1/", "proc/1/x", "proc-x", "run/", "run/y=a")
	got := names(list(t,
		Filter(base, func(e Entry) bool { return e.Name != "a" && !strings.HasPrefix(e.Name, "proc/") })))
	if want := ". b proc proc-x run run/y=b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = names(list(t, Filter(base, func(e Entry) bool { return e.Name != "proc" })))
	if want := ". a b=a proc-x run run/y=a"; got != want {
		t.Errorf("without the directory: got %q, want %q", got, want)
	}
}

func TestSubtreeHoldsOneDirectory(t *testing.T) {
	t.Parallel()
	base := baseTree("a", "boot/", "boot/b=a", "boot/grub/", "boot/grub/c=a", "boot.old")
	entries := list(t, Subtree(base, "/boot/"))
	if got, want := names(entries), ". b grub grub/c=b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := string(content(t, entries[1])); got != "base a" {
		t.Errorf("b holds %q, want the content of the file outside", got)
	}
	if _, err := tryList(Subtree(base, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a file: got %v, want fs.ErrNotExist", err)
	}
	if got := names(list(t, Subtree(base, "."))); got != names(list(t, base)) {
		t.Errorf("of the root: got %q", got)
	}
}

func TestClampAndDenseChangeOnlyMatchingEntries(t *testing.T) {
	t.Parallel()
	tree, err := Overlay(baseTree("boot/", "boot/k", "z"), FileEntry("late", 0o600, nil, testTime.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	tree = Dense(Clamp(tree, testTime), func(name string) bool { return strings.HasPrefix(name, "boot") })
	for _, e := range list(t, tree) {
		if !e.ModTime.Equal(testTime) {
			t.Errorf("%s: time is %v, want %v", e.Name, e.ModTime, testTime)
		}
		if e.Dense != (e.Name == "boot/k") {
			t.Errorf("%s: Dense is %v", e.Name, e.Dense)
		}
	}
}
