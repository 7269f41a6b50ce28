// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// drivers are the storage drivers that snapshots are tested with.
var drivers = []string{host.DriverOverlay, host.DriverVFS}

// TestLayersAreSpreadOverTheDisk needs ext4 below the directory for temporary files; other file
// systems do not have this flag.
func TestLayersAreSpreadOverTheDisk(t *testing.T) {
	t.Parallel()
	for driver, layers := range map[string]string{host.DriverOverlay: "overlay", host.DriverVFS: "vfs/dir"} {
		dir := t.TempDir()
		e := openEngineAt(t, dir, driver)
		f, err := os.Open(filepath.Join(e.layers.graph, layers))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.EXT4_SUPER_MAGIC {
			t.Skipf("%s is not on ext4 (%v)", dir, err)
		}
		if flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); err != nil || flags&topDir == 0 {
			t.Errorf("%s: the flags are %#x, %v", driver, flags, err)
		}
	}
}

func TestSnapshotsAreLayers(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			e := openEngineAt(t, t.TempDir(), driver)
			c, err := e.Scratch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(c.WriteFile("/first", []byte("1"), 0o644))
			must(c.Lchown("/first", 1, 65534))
			must(c.Snapshot(t.Context(), "localhost/test:1", nil))
			must(c.WriteFile("/second", []byte("2"), 0o644))
			must(c.Remove("/first"))
			must(c.Snapshot(t.Context(), "localhost/test:2", map[string]string{"step": "two"}))
			must(c.WriteFile("/third", []byte("3"), 0o644))
			must(c.Close())
			must(c.Close()) // a second time

			for name, want := range map[string]string{"localhost/test:1": "first", "localhost/test:2": "second"} {
				c, err := e.From(t.Context(), name)
				must(err)
				entries, err := c.ReadDir("/")
				if err != nil || len(entries) != 1 || entries[0].Name() != want {
					t.Errorf("%s holds %v (%v), want %s", name, entries, err, want)
				}
				must(c.WriteFile("/new", nil, 0o644)) // must not be seen by the next one
				must(c.Close())
			}
			c, err = e.From(t.Context(), "localhost/test:1")
			must(err)
			if uid, gid := ownerOf(t, c, "/first"); uid != 1 || gid != 65534 {
				t.Errorf("owner %d:%d", uid, gid)
			}
			if entries, err := c.ReadDir("/"); err != nil || len(entries) != 1 {
				t.Errorf("a snapshot has been changed: %v (%v)", entries, err)
			}

			all, err := e.Snapshots()
			if want := []string{"localhost/test:1", "localhost/test:2"}; err != nil ||
				!slices.Equal(snapshotNames(all), want) {
				t.Errorf("got %v (%v), want %v", all, err, want)
			}
			if labels, err := e.Labels("localhost/test:2"); err != nil || labels["step"] != "two" {
				t.Errorf("got labels %v (%v)", labels, err)
			}
			if _, err := e.Labels("localhost/test:3"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("labels of a missing snapshot: %v", err)
			}
			must(e.Remove("localhost/test:1"))
			if e.Has("localhost/test:1") || !e.Has("localhost/test:2") {
				t.Error("the wrong snapshot is gone")
			}
			if _, err := c.ReadFile("/first"); err != nil {
				t.Errorf("the container lost its snapshot: %v", err)
			}
			must(c.Close())
			c, err = e.From(t.Context(), "localhost/test:2")
			must(err)
			if _, err := c.ReadFile("/second"); err != nil {
				t.Errorf("a snapshot lost the one below it: %v", err)
			}
			must(c.Close())
			must(e.Remove("localhost/test:2"))
			if layers, err := e.store.Layers(); err != nil || len(layers) != 0 {
				t.Errorf("layers left over: %v (%v)", layers, err)
			}
		})
	}
}

// systemd-tmpfiles sets such a list on systemd's journal.
func TestSnapshotsKeepAccessControlListsAndTimes(t *testing.T) {
	t.Parallel()
	// struct posix_acl_xattr_header and entries of linux/posix_acl_xattr.h: the owner, group 0 by name, the
	// owning group, a mask, others.
	acl := []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x08\x00\x05\x00\x00\x00\x00\x00\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff")
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			c, err := openEngineAt(t, t.TempDir(), driver).Scratch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			then := time.Unix(1_500_000_000, 123_456_789)
			err = errors.Join(
				c.MkdirAll("/journal", 0o755), c.WriteFile("/file", nil, 0o644),
				unix.Setxattr(c.Root()+"/journal", "system.posix_acl_default", acl, 0),
				os.Chtimes(c.Root()+"/file", then, then), os.Chtimes(c.Root()+"/journal", then, then),
				c.Snapshot(t.Context(), "localhost/test:acl", nil),
			)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 100)
			n, err := unix.Getxattr(c.Root()+"/journal", "system.posix_acl_default", got)
			if err != nil || !bytes.Equal(got[:n], acl) {
				t.Errorf("the access control list is %q (%v), want %q", got[:max(n, 0)], err, acl)
			}
			for _, name := range []string{"/file", "/journal"} {
				if info, err := c.Lstat(name); err != nil || !info.ModTime().Equal(then) {
					t.Errorf("%s has time %v (%v), want %v", name, info.ModTime(), err, then)
				}
			}
		})
	}
}

func TestMissingSnapshotDoesNotExist(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	_, err := e.From(t.Context(), "localhost/none:1")
	if want := `snapshot "localhost/none:1": file does not exist`; !errors.Is(err, fs.ErrNotExist) ||
		err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	if err := e.Remove("localhost/none:1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if e.Has("localhost/none:1") {
		t.Error("Has reports a missing snapshot")
	}
}

func TestSnapshotReplacesOlderOne(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	for _, text := range []string{"old", "new"} {
		c, err := e.Scratch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.WriteFile("/file", []byte(text), 0o644), c.Snapshot(t.Context(), "name", nil),
			c.Close()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := e.From(t.Context(), "name")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := c.ReadFile("/file"); err != nil || string(data) != "new" {
		t.Errorf("got %q, %v", data, err)
	}
	if err := e.removed.wait(); err != nil {
		t.Error(err)
	}
	// Those of the snapshot and the container, none of the older snapshot.
	if layers, err := e.store.Layers(); err != nil || len(layers) != 2 {
		t.Errorf("got %d layers (%v), want 2", len(layers), err)
	}
	if images, err := e.store.Images(); err != nil || len(images) != 1 {
		t.Errorf("got %d images (%v), want 1", len(images), err)
	}
}

// abandon leaves an engine as a kill would: without its lock, everything else remains.
func abandon(t *testing.T, e *Engine) {
	t.Helper()
	if err := errors.Join(e.removed.wait(), e.session.unlock()); err != nil {
		t.Fatal(err)
	}
	for _, c := range e.containers {
		if c.layer != "" {
			if err := e.layers.driver.Put(c.layer); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.store.Free()
}

// A process that is being started has copies of all descriptors until it calls exec.
func TestUnlockDoesNotWaitForStartingProcesses(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "lock")
	f, err := lockFile(name, unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	s := &session{lock: f}
	if err := errors.Join(s.unlock(), s.unlock()); err != nil {
		t.Fatal(err)
	}
	again, err := lockFile(name, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestOpenRemovesLeftoversOfKilledBuilds(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			if driver == host.DriverOverlay {
				needsNamespaces(t)
			}
			t.Parallel()
			dir := t.TempDir()
			killed, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir, Driver: driver})
			if err != nil {
				t.Fatal(err)
			}
			// Three states of an unfinished snapshot: without an image, with an image without a
			// name, and with a named image whose layer still is marked as being written.
			layers := make([]*Container, 3)
			for i := range layers {
				if layers[i], err = killed.Scratch(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := killed.createImage(layers[1].layer, snapshotRecord{}); err != nil {
				t.Fatal(err)
			}
			if err := layers[2].WriteFile("/file", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			sealed, _, err := killed.seal(t.Context(), layers[2].layer)
			if err != nil {
				t.Fatal(err)
			}
			record := snapshotRecord{Layers: []sealedLayer{sealed}}
			record.Sum = record.sum("finished")
			image, err := killed.createImage(layers[2].layer, record)
			if err != nil {
				t.Fatal(err)
			}
			if err := killed.store.AddNames(image, []string{"finished"}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(killed.TempDir(), "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			abandon(t, killed)

			e := openEngineAt(t, dir, driver)
			left, err := e.store.Layers()
			if err != nil || len(left) != 1 || len(left[0].Names) != 0 {
				t.Errorf("left over: %v (%v)", left, err)
			}
			if images, err := e.store.Images(); err != nil || len(images) != 1 {
				t.Errorf("left over: %v (%v)", images, err)
			}
			c, err := e.From(t.Context(), "finished")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Lstat("/file"); err != nil {
				t.Error(err)
			}
			sessions, err := os.ReadDir(filepath.Join(dir, "sessions"))
			if err != nil || len(sessions) != 1 {
				t.Errorf("got sessions %v (%v), want that of the engine", sessions, err)
			}
		})
	}
}

func TestOpenRemovesUnusedLayers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// An image that was replaced but not removed, and one that was removed while a container used
	// it.
	replaced, err := e.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(replaced.Snapshot(t.Context(), "replaced", nil), c.Snapshot(t.Context(), "one", nil),
		c.Snapshot(t.Context(), "two", nil))
	if err != nil {
		t.Fatal(err)
	}
	image, err := e.store.Image("replaced")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(e.store.SetNames(image.ID, nil), e.Remove("one"), e.Remove("two"), e.Close())
	if err != nil {
		t.Fatal(err)
	}
	e = openEngineAt(t, dir, "")
	if layers, err := e.store.Layers(); err != nil || len(layers) != 0 {
		t.Errorf("layers left over: %v (%v)", layers, err)
	}
	if images, err := e.store.Images(); err != nil || len(images) != 0 {
		t.Errorf("images left over: %v (%v)", images, err)
	}
}

func TestEnginesShareAStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := openEngineAt(t, dir, ""), openEngineAt(t, dir, "")
	c := scratch(t, one)
	// Neither opening nor closing an engine may remove a layer that another engine is writing.
	three, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := three.Close(); err != nil {
		t.Fatal(err)
	}
	output(t, c, newProcess("cat"))
	if err := c.Snapshot(t.Context(), "shared", nil); err != nil {
		t.Fatal(err)
	}
	other, err := two.From(t.Context(), "shared")
	if err != nil {
		t.Fatal(err)
	}
	output(t, other, newProcess("cat"))
}

func TestCloseLeavesNothingButSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.TempDir(), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	scratch(t, e) // still open
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEngineAt(t, dir, "")
	if layers, err := e.store.Layers(); err != nil || len(layers) != 0 {
		t.Errorf("left over: %v (%v)", layers, err)
	}
	if sessions, err := os.ReadDir(filepath.Join(dir, "sessions")); err != nil || len(sessions) != 1 {
		t.Errorf("got sessions %v (%v), want that of the engine", sessions, err)
	}
}

// snapshotNames returns the names of snapshots, sorted.
func snapshotNames(all []types.Snapshot) []string {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

func TestImportRejectsADamagedBase(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := e.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(c.WriteFile("/first", []byte("written"), 0o644), c.Snapshot(t.Context(), "base", nil),
		c.WriteFile("/second", []byte("written too"), 0o644), c.Snapshot(t.Context(), "top", nil), c.Close())
	if err != nil {
		t.Fatal(err)
	}
	from := func(name string) error {
		c, err := e.From(t.Context(), name)
		if err != nil {
			return err
		}
		return c.Close()
	}
	image, err := e.store.Image("base")
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	err = filepath.WalkDir(filepath.Join(dir, "store-"+e.name), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "first" && strings.Contains(name, image.TopLayer) {
			lost++
			return os.Truncate(name, 0)
		}
		return err
	})
	if err != nil || lost == 0 {
		t.Fatalf("%d files truncated (%v)", lost, err)
	}
	if err := e.Import(t.Context(), "base", nil); !errors.Is(err, fs.ErrNotExist) || e.Has("base") {
		t.Errorf("layers were imported above it: %v", err)
	}
	for _, name := range []string{"top", "base"} {
		if err := from(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if e.Has(name) {
			t.Errorf("%s still exists", name)
		}
	}
}
