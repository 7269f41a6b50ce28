// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

var then = time.Unix(1700000000, 0).UTC()

// dirTree returns the tree of a new directory, described by lines of "NAME TEXT"; a name ends in a slash for
// a directory, and "NAME = OTHER" is a hard link. All times are the same.
func dirTree(t *testing.T, lines ...string) diskimage.Tree {
	t.Helper()
	root := t.TempDir()
	for _, line := range lines {
		name, text, _ := strings.Cut(line, " ")
		path := filepath.Join(root, name)
		var err error
		switch other, link := strings.CutPrefix(text, "= "); {
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(path, 0o755)
		case link:
			err = os.Link(filepath.Join(root, other), path)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return diskimage.Map(diskimage.NewDirTree(root), func(e diskimage.Entry) diskimage.Entry {
		e.ModTime = then
		return e
	})
}

// entryNames returns the names of a tree in its order; " = " shows a hard link.
func entryNames(t *testing.T, tree diskimage.Tree) []string {
	t.Helper()
	all := []string{}
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		name := e.Name
		if e.HardLink != "" {
			name += " = " + e.HardLink
		}
		all = append(all, name)
	}
	return all
}

func TestDifferenceHasChangesAndTheirParents(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ lower, upper, want []string }{
		"nothing": {[]string{"a 1", "d/", "d/b 2"}, []string{"a 1", "d/", "d/b 2"}, []string{}},
		"a new file": {[]string{"a 1"}, []string{"a 1", "d/", "d/e/", "d/e/f x"},
			[]string{".", "d", "d/e", "d/e/f"}},
		"other bytes": {[]string{"d/", "d/a 1", "d/b 1"}, []string{"d/", "d/a 2", "d/b 1"},
			[]string{".", "d", "d/a"}},
		"a removed file": {[]string{"d/", "d/a 1", "d/b 1"}, []string{"d/", "d/b 1"}, []string{".", "d", "d/.wh.a"}},
		"a removed tree": {[]string{"d/", "d/e/", "d/e/f 1"}, []string{"d/"}, []string{".", "d", "d/.wh.e"}},
		"a file becomes a directory": {
			[]string{"x 1"}, []string{"x/", "x/y 1"}, []string{".", "x", "x/y"},
		},
		"a directory becomes a file": {[]string{"x/", "x/y 1"}, []string{"x 1"}, []string{".", "x"}},
		"a link to an old file brings the file along": {
			[]string{"a 1", "b 1"}, []string{"a 1", "b 1", "d/", "d/c = a"}, []string{".", "a", "d", "d/c = a"},
		},
		"a changed file brings its links along": {
			[]string{"a 1", "b = a", "c 3"}, []string{"a 2", "b = a", "c 3"}, []string{".", "a", "b = a"},
		},
		"links that were": {[]string{"a 1", "b = a"}, []string{"a 1", "b = a"}, []string{}},
		"links that part": {[]string{"a 1", "b = a"}, []string{"a 1", "b 1"}, []string{".", "a", "b"}},
		"the first of three links goes": {
			[]string{"a 1", "b = a", "c = a"}, []string{"b 1", "c = b"}, []string{".", ".wh.a", "b", "c = b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := entryNames(t, Difference(dirTree(t, tt.lower...), dirTree(t, tt.upper...)))
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDifferenceToNilIsWholeTree(t *testing.T) {
	t.Parallel()
	tree := dirTree(t, "a 1", "d/", "d/b = a")
	if got, want := entryNames(t, Difference(nil, tree)), entryNames(t, tree); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDifferenceSeesEachAttribute(t *testing.T) {
	t.Parallel()
	base := diskimage.FileEntry("f", 0o644, []byte("same"), then)
	tree := func(e diskimage.Entry) diskimage.Tree {
		tree, err := diskimage.Overlay(diskimage.EmptyTree(then), e)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	for name, change := range map[string]func(*diskimage.Entry){
		"mode":  func(e *diskimage.Entry) { e.Mode |= unix.S_ISUID },
		"user":  func(e *diskimage.Entry) { e.UID = 1 },
		"group": func(e *diskimage.Entry) { e.GID = 1 },
		"time":  func(e *diskimage.Entry) { e.ModTime = e.ModTime.Add(1) },
		"xattr": func(e *diskimage.Entry) { e.Xattrs = []diskimage.Xattr{{Name: "user.x", Value: []byte("1")}} },
	} {
		now := base
		change(&now)
		if got := entryNames(t, Difference(tree(base), tree(now))); !slices.Equal(got, []string{".", "f"}) {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := entryNames(t, Difference(tree(base), tree(base))); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// A program can change a file and restore its mtime, but not its ctime.
func TestDifferenceDoesNotTrustModificationTimes(t *testing.T) {
	t.Parallel()
	lower, upper := t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{lower: "one", upper: "two"} {
		file := filepath.Join(dir, "f")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{file, dir} {
			if err := os.Chtimes(name, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := entryNames(t, Difference(diskimage.NewDirTree(lower), diskimage.NewDirTree(upper)))
	if !slices.Equal(got, []string{".", "f"}) {
		t.Errorf("got %q", got)
	}
}

func TestDifferenceRejectsWhiteoutNames(t *testing.T) {
	t.Parallel()
	for _, err := range Difference(nil, dirTree(t, "d/", "d/.wh.x 1")).Entries() {
		if err == nil || !strings.Contains(err.Error(), `"d/.wh.x"`) {
			t.Errorf("got %v", err)
		}
	}
}

// apply applies a layer to a tree as the image specification says.
func apply(t *testing.T, below map[string]diskimage.Entry, layer diskimage.Tree) map[string]diskimage.Entry {
	t.Helper()
	result := maps.Clone(below)
	remove := func(name string) {
		for other := range result {
			if other == name || strings.HasPrefix(other, name+"/") {
				delete(result, other)
			}
		}
	}
	for e, err := range layer.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		dir, base := filepath.Split(e.Name)
		if name, gone := strings.CutPrefix(base, whiteout); gone {
			remove(dir + name)
			continue
		}
		if old, there := result[e.Name]; there && (!old.IsDir() || !e.IsDir()) {
			remove(e.Name)
		}
		result[e.Name] = e
	}
	return result
}

func TestLayersAddUpToTheTree(t *testing.T) {
	t.Parallel()
	states := []diskimage.Tree{
		dirTree(t, "a 1", "b = a", "d/", "d/e/", "d/e/f x", "gone/", "gone/g 1", "x 1"),
		dirTree(t, "a 1", "c = a", "d/", "d/e y", "x/", "x/y 1"),
		dirTree(t, "a 2", "c 1", "x 2", "gone/", "gone/h 1"),
	}
	below := map[string]diskimage.Entry{}
	var lower diskimage.Tree
	for _, upper := range states {
		below = apply(t, below, Difference(lower, upper))
		want := entryNames(t, upper)
		var got []string
		for name, e := range below {
			if e.HardLink != "" {
				name += " = " + e.HardLink
			}
			got = append(got, name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		lower = upper
	}
}
