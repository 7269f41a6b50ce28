// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

func TestIgnoreListsFollowGit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := "# comment\n\n*.img\n!keep.img\n/top\nbuild/\ndoc/*.txt\na/**/z\n\\#x\n"
	if err := os.WriteFile(filepath.Join(dir, IgnoreName), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := readIgnoreList(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"x.img": true, "sub/x.img": true, "keep.img": false, "sub/keep.img": false, "top": true, "sub/top": false,
		"build/": true, "sub/build/": true,
		"build": false, "doc/a.txt": true, "doc/sub/a.txt": false, "sub/doc/a.txt": false, "a/b/c/z": true, "a/z": true,
		"#x": true, "comment": false,
		IgnoreName: false,
	} {
		isDir := name[len(name)-1] == '/'
		if got := l.matches(filepath.Clean(name), isDir); got != want {
			t.Errorf("%s: ignored is %v, want %v", name, got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, IgnoreName), []byte("good\n[bad\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readIgnoreList(dir); err == nil {
		t.Error("a pattern without an end is taken")
	}
}

// BenchmarkList100000Files measures what a large working directory costs each build.
func BenchmarkList100000Files(b *testing.B) {
	top := b.TempDir()
	for i := range 1000 {
		dir := filepath.Join(top, fmt.Sprintf("%d/%d", i%10, i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for n := range 100 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	dirs := target.SharedDirs{{Name: "working directory", Path: top}}
	for b.Loop() {
		seen, err := listDirs(dirs, nil, nil)
		if err != nil || len(seen[0].entries) != 101011 {
			b.Fatalf("%d files (%v)", len(seen[0].entries), err)
		}
		_ = seen[0].digest()
	}
}
