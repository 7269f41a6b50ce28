// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
)

// victim is a directory of the host that is not shared with any container.
type victim struct {
	dir    string
	before []string
}

func newVictim(t *testing.T, files ...string) *victim {
	t.Helper()
	v := &victim{dir: t.TempDir()}
	for _, name := range files {
		write(t, filepath.Join(v.dir, name), "the victim's")
	}
	v.before = treeOf(t, v.dir)
	return v
}

// check fails the test if the directory has changed.
func (v *victim) check(t *testing.T) {
	t.Helper()
	if after := treeOf(t, v.dir); !slices.Equal(after, v.before) {
		t.Errorf("a directory that was not shared holds %q afterwards, want %q", after, v.before)
	}
	for _, name := range v.before {
		path, isFile := strings.CutPrefix(name, "----------")
		if text, err := os.ReadFile(v.dir + path); isFile && (err != nil || string(text) != "the victim's") {
			t.Errorf("%s holds %q (%v)", path, text, err)
		}
	}
}

// attack adds mounts to a root file system, calls do, and returns the error of undoing the mounts.
func attack(t *testing.T, root string, mounts []specs.Mount, movable []string, do func()) error {
	t.Helper()
	p := &run.Binds{Root: root, Covered: filepath.Join(t.TempDir(), "covered"),
		Movable: func(dir string) bool { return slices.Contains(movable, dir) }, Keep: root + "/nothing"}
	for _, m := range mounts {
		if err := p.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	do()
	return p.Undo()
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func shareAt(source, at string) []specs.Mount {
	return []specs.Mount{{Type: "bind", Source: source, Destination: at, Options: []string{"rbind"}}}
}

// The tests below are for issue 12, A3.

func TestBindsSharedDirectoryThatBecameALinkIsLeftAlone(t *testing.T) {
	t.Parallel()
	for what, replaceIt := range map[string]func(at, with string) error{
		"a link": func(at, with string) error {
			return errors.Join(os.RemoveAll(at), os.Symlink(with, at))
		},
		"an empty directory": func(at, _ string) error {
			return errors.Join(os.Rename(at, at+"-away"), os.Mkdir(at, 0o755))
		},
		"nothing": func(at, _ string) error { return os.RemoveAll(at) },
		"a file": func(at, _ string) error {
			return errors.Join(os.RemoveAll(at), os.WriteFile(at, nil, 0o644))
		},
		"its parent's a link": func(at, with string) error {
			return errors.Join(os.RemoveAll(filepath.Dir(at)), os.Symlink(filepath.Dir(with), filepath.Dir(at)))
		},
	} {
		root := t.TempDir()
		shared, other := newVictim(t, "work/file", "work/dir/file"), newVictim(t, "work/file", "work/other")
		err := attack(t, root, shareAt(shared.dir+"/work", "/home/alice/work"), nil, func() {
			mustDo(t, replaceIt(root+"/home/alice/work", other.dir+"/work"))
		})
		if err == nil || !strings.Contains(err.Error(), "nothing is brought back") {
			t.Errorf("%s: got %v", what, err)
		}
		shared.check(t)
		other.check(t)
	}
}

func TestBindsLinkInASharedDirectoryIsNotFollowed(t *testing.T) {
	t.Parallel()
	root, shared, other := t.TempDir(), t.TempDir(), newVictim(t, "a", "deep/b", "new")
	write(t, shared+"/dir/a", "shared")
	write(t, shared+"/dir/deep/b", "shared")
	mustDo(t, attack(t, root, shareAt(shared, "/shared"), nil, func() {
		mustDo(t, os.RemoveAll(root+"/shared/dir"), os.Symlink(other.dir, root+"/shared/dir"))
	}))
	other.check(t)
	if text, err := os.Readlink(shared + "/dir"); err != nil || text != other.dir {
		t.Errorf("the link was not copied out: %q, %v", text, err)
	}
}

func TestBindsLinkOnTheHostIsNotFollowed(t *testing.T) {
	t.Parallel()
	root, shared, other := t.TempDir(), t.TempDir(), newVictim(t, "changed", "removed")
	write(t, shared+"/dir/changed", "shared")
	write(t, shared+"/dir/removed", "shared")
	err := attack(t, root, shareAt(shared, "/shared"), nil, func() {
		write(t, root+"/shared/dir/changed", "by the program")
		write(t, root+"/shared/dir/new", "by the program")
		mustDo(t, os.Remove(root+"/shared/dir/removed"), os.RemoveAll(shared+"/dir"),
			os.Symlink(other.dir, shared+"/dir"))
	})
	if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v", err)
	}
	other.check(t)
}

func TestBindsRemoveOnlyWhatWasCopied(t *testing.T) {
	t.Parallel()
	root, shared := t.TempDir(), t.TempDir()
	write(t, shared+"/dir/file", "shared")
	err := attack(t, root, shareAt(shared, "/shared"), nil, func() {
		write(t, shared+"/dir/created since", "the host's")
		mustDo(t, os.RemoveAll(root+"/shared/dir"), os.Symlink("other", root+"/shared/dir"))
	})
	if !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("got %v", err)
	}
	want := []string{"d---------", "d---------/dir", "----------/dir/created since"}
	if got := treeOf(t, shared); !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func TestBindsCreatedDirectoryThatBecameALinkIsNotEmptied(t *testing.T) {
	t.Parallel()
	root, other := t.TempDir(), newVictim(t, "b/c/file")
	mustDo(t, os.MkdirAll(root+"/a", 0o755), attack(t, root, []specs.Mount{{Type: "tmpfs", Destination: "/a/b/c"}}, nil,
		func() {
			mustDo(t, os.RemoveAll(root+"/a"), os.Symlink(other.dir, root+"/a"))
		}))
	other.check(t)
}

func TestBindsMovedDirectoryIsNotReplacedByALink(t *testing.T) {
	t.Parallel()
	root, container, other := t.TempDir(), t.TempDir(), newVictim(t, "etc/passwd", "dev/null")
	tree := container + "/root"
	write(t, tree+"/etc/passwd", "the container's")
	err := attack(t, root, append(shareAt(tree, "/target"), specs.Mount{Type: "tmpfs", Destination: "/target/dev"}),
		[]string{tree}, func() {
			mustDo(t, os.Rename(root+"/target", root+"/away"), os.Symlink(other.dir, root+"/target"))
		})
	if err == nil || !strings.Contains(err.Error(), "moved it away") {
		t.Errorf("got %v", err)
	}
	other.check(t)
	if info, err := os.Lstat(tree); err != nil || !info.IsDir() {
		t.Errorf("the root directory is %v (%v)", info, err)
	}
}

// A program that outlives its run keeps swapping a directory and a link.
func TestBindsStayInTheirTreesDuringLinkRaces(t *testing.T) {
	t.Parallel()
	other := newVictim(t, "a", "b", "c")
	const rounds = 40
	for range rounds {
		root, shared := t.TempDir(), t.TempDir()
		for _, name := range []string{"a", "b", "c"} {
			write(t, shared+"/dir/"+name, "shared")
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		// Both outcomes of the race are allowed.
		_ = attack(t, root, shareAt(shared, "/shared"), nil, func() {
			copied := root + "/shared/"
			write(t, copied+"dir/a", "by the program")
			mustDo(t, os.Remove(copied+"dir/b"), os.Symlink(other.dir, copied+"link"),
				os.Symlink(other.dir, shared+"/link"))
			begun := make(chan struct{})
			go func() {
				swap := func(in string) error {
					return unix.Renameat2(unix.AT_FDCWD, in+"dir", unix.AT_FDCWD, in+"link", unix.RENAME_EXCHANGE)
				}
				for n := 0; ; n++ {
					// Either may have been replaced or removed.
					_ = swap(copied)
					_ = swap(shared + "/")
					if n == 0 {
						close(begun)
					}
					select {
					case <-stop:
						close(stopped)
						return
					default:
					}
				}
			}()
			<-begun
		})
		close(stop)
		<-stopped
		other.check(t)
	}
}
