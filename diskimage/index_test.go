// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"archive/tar"
	"errors"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIndexFollowsLinksInsideTheTree(t *testing.T) {
	t.Parallel()
	tree, err := treeOf(pack(t, dirMember("usr/"), dirMember("usr/lib/"), fileMember("usr/lib/f"),
		symlinkMember("lib", "usr/lib"),
		symlinkMember("abs", "/usr/../lib/f"), symlinkMember("out", "../../usr/lib/f"), symlinkMember("loop", "loop"),
		linkMember("usr/hard", "usr/lib/f"), symlinkMember("gone", "nowhere"), tar.Header{Name: "empty"}))
	if err != nil {
		t.Fatal(err)
	}
	x, err := NewIndex(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usr/lib/f", "/lib/f", "abs", "out", "./usr/hard"} {
		if got, err := x.ReadFile(name); err != nil || string(got) != "usr/lib/f" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if got, err := x.ReadFile("empty"); err != nil || len(got) != 0 {
		t.Errorf("empty: got %q, %v", got, err)
	}
	for name, want := range map[string]error{"gone": fs.ErrNotExist, "usr/none": fs.ErrNotExist, "loop": unix.ELOOP} {
		if _, err := x.ReadFile(name); !errors.Is(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := x.ReadFile("lib"); err == nil {
		t.Error("a directory was read as a file")
	}
	if e, err := x.Follow("/"); err != nil || e.Name != rootName {
		t.Errorf("the root: %v, %v", e.Name, err)
	}
}
