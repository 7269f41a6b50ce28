// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/filetree"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// Issue 15: Linux mounts no overlay of more than 500 layers, and a build may have more hooks.
func TestFoldedLayersKeepFilesAndStates(t *testing.T) {
	t.Parallel()
	needsNamespaces(t)
	dir := t.TempDir()
	e := openEngineAt(t, dir, host.DriverOverlay)
	c := emptyRoot(t, e)
	tree := func(c *Container) digest.Digest {
		t.Helper()
		scanned, err := filetree.Scan(t.Context(), filepath.Join(c.Root(), "tree"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := scanned.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	name := func(n int) string { return fmt.Sprintf("localhost/snapshot:%d", n) }
	at := func(name string) string { return filepath.Join(c.Root(), "tree", name) }
	err := errors.Join(
		os.MkdirAll(at("dir"), 0o750), os.WriteFile(at("dir/file"), []byte("text"), 0o4711),
		os.Link(at("dir/file"), at("link")), os.Symlink("dir", at("symlink")), unix.Mkfifo(at("fifo"), 0o600),
		unix.Setxattr(at("dir/file"), "user.test", []byte("value"), 0),
		os.Chtimes(at("dir"), time.Time{}, time.Unix(-1_000_000, 5)),
		os.WriteFile(at("sparse"), nil, 0o600), os.Truncate(at("sparse"), 1<<20),
		os.WriteFile(at("gone"), nil, 0o600), c.Snapshot(t.Context(), name(1), nil), os.Remove(at("gone")),
	)
	if err != nil {
		t.Fatal(err)
	}
	const all = 2*maxDepth + 5
	want := map[int]digest.Digest{}
	for n := 2; n <= all; n++ {
		err := errors.Join(os.WriteFile(at("count"), []byte(fmt.Sprint(n)), 0o600),
			os.Remove(at("dir/file")), os.WriteFile(at("dir/file"), nil, 0o600))
		want[n] = tree(c)
		if err := errors.Join(err, c.Snapshot(t.Context(), name(n), nil)); err != nil {
			t.Fatal(err)
		}
		if got := tree(c); got != want[n] {
			t.Fatalf("snapshot %d changes the files", n)
		}
	}
	// The snapshots are found by another process, and so are the states before them.
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEngineAt(t, dir, host.DriverOverlay)
	if _, damaged, err := e.Verify(t.Context(), nil); damaged > 0 || err != nil {
		t.Errorf("%d are damaged (%v)", damaged, err)
	}
	last, err := e.From(t.Context(), name(all))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, maxDepth, maxDepth + 1, maxDepth + 2, 2*maxDepth + 1, all} {
		before, err := last.Before(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree(before); got != want[n] {
			t.Errorf("the state %d is another one", n)
		}
		if got := len(before.layers.folded) + len(before.layers.sealed); got != n {
			t.Errorf("the state %d has %d layers", n, got)
		}
		if err := before.Close(); err != nil {
			t.Error(err)
		}
	}
	for n := 1; n <= maxDepth; n++ {
		if err := e.Remove(name(n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 2, all + 1} {
		if _, err := last.Before(t.Context(), n); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the removed state %d: %v", n, err)
		}
	}
	if got := tree(last); got != want[all] {
		t.Error("the last state depends on removed layers")
	}
}
