// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
)

// nothingLeft checks that a directory of builds is empty.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v (%v)", left, err)
	}
}

// Issue 12: Clear reads no index.
func TestClearLeavesNothingOfDamagedStores(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"images", "layers"} {
		for _, r := range ruins {
			t.Run(kind+"/"+r.name, func(t *testing.T) {
				t.Parallel()
				s := newKeptStore(t, host.DriverVFS)
				above := t.TempDir()
				dir, packages := filepath.Join(above, "store"), filepath.Join(above, "packages")
				err := errors.Join(os.Rename(s.dir, dir), os.Mkdir(packages, 0o700),
					os.WriteFile(packages+"/file", nil, 0o400), os.Chmod(packages, 0))
				if err != nil {
					t.Fatal(err)
				}
				s.dir, s.graph = dir, filepath.Join(dir, filepath.Base(s.graph))
				if err := errors.Join(r.ruin(s.index(kind)), Clear(t.Context(), dir, packages)); err != nil {
					t.Fatal(err)
				}
				nothingLeft(t, above)
				if err := Clear(t.Context(), dir, packages); err != nil {
					t.Errorf("when there is nothing: %v", err)
				}
			})
		}
	}
}

func TestClearRemovesLeftoversOfKilledProcesses(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir := filepath.Join(above, "store")
	if err := errors.Join(os.MkdirAll(dir+removedMark+"X/in", 0o700), os.WriteFile(dir+".kept", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Clear(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(above); err != nil || len(left) != 1 || left[0].Name() != "store.kept" {
		t.Errorf("left over: %v (%v), want the files of others", left, err)
	}
}

func TestClearRefusesAStoreInUse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := emptyRoot(t, e)
	if err := Clear(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	err = errors.Join(c.WriteFile("/file", nil, 0o644), c.Snapshot(t.Context(), "snapshot", nil), e.Close())
	if err != nil {
		t.Errorf("the build cannot continue: %v", err)
	}
	if err := Clear(t.Context(), dir); err != nil {
		t.Error(err)
	}
	nothingLeft(t, filepath.Dir(dir))
}

func TestClearRefusesAPull(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir, images := filepath.Join(above, "store"), filepath.Join(above, "images")
	pulled, remove, err := registry.PullDir(images)
	if err != nil {
		t.Fatal(err)
	}
	if err := Clear(t.Context(), dir, images); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(pulled); err != nil {
		t.Error(err)
	}
	if err := errors.Join(remove(), Clear(t.Context(), dir, images)); err != nil {
		t.Error(err)
	}
	nothingLeft(t, above)
}

func TestClearNeedsNoSpace(t *testing.T) {
	t.Parallel()
	needsNamespaces(t)
	above := t.TempDir()
	if err := unix.Mount("tmpfs", above, "tmpfs", 0, "size=256k,nr_inodes=1000"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(above, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(above, "store")
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir, Driver: host.DriverVFS})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 4096), 0o600); errors.Is(err,
			unix.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := Clear(t.Context(), dir); err != nil {
		t.Error(err)
	}
	nothingLeft(t, above)
}

// A build that waits for the lock gets the lock of the new directory, not that of the removed one.
func TestLockOfAMovedDirectoryIsNotUsed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	held, err := lockSessions(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		lock, err := lockSessions(dir)
		if err == nil {
			var info, now fs.FileInfo
			info, err = lock.Stat()
			if err == nil {
				now, err = os.Stat(held.Name())
			}
			if err == nil && !os.SameFile(info, now) {
				err = errors.New("the locked file was removed")
			}
			err = errors.Join(err, lock.Close())
		}
		got <- err
	}()
	if err := errors.Join(os.Rename(dir, dir+".old"), held.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// A store is not replaced while another build uses it.
func TestDamagedStoreInUseIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir, Driver: host.DriverVFS})
	if err != nil {
		t.Fatal(err)
	}
	c := emptyRoot(t, e)
	index := filepath.Join(e.layers.graph, "vfs-images", "images.json")
	if err := os.WriteFile(index, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir, Driver: host.DriverVFS}); err == nil {
		t.Errorf("it was opened: %v", other.Close())
	}
	if _, err := c.ReadDir("/"); err != nil {
		t.Errorf("the container lost its files: %v", err)
	}
	// Closing the engine cannot read the index either.
	_ = e.Close()
	var reported []Damage
	e, err = Open(t.Context(), EngineOptions{Place: here, StateDir: dir, Driver: host.DriverVFS,
		Damaged: func(d Damage) { reported = append(reported, d) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if len(reported) != 1 || reported[0].Snapshot.Name != "" {
		t.Errorf("reported %v, want the whole store", reported)
	}
}
