// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/filetree"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// sealed returns an engine with a snapshot, and a file of its layer.
func sealed(t *testing.T) (e *Engine, file string) {
	t.Helper()
	e = openEngineAt(t, t.TempDir(), "")
	c := emptyRoot(t, e)
	err := errors.Join(c.WriteFile("/file", []byte("what was written"), 0o644),
		c.Snapshot(t.Context(), "snapshot", nil), c.Close())
	if err != nil {
		t.Fatal(err)
	}
	return e, filepath.Join(e.layers.tree(topLayer(t, e)), "file")
}

func topLayer(t *testing.T, e *Engine) string {
	t.Helper()
	image, err := e.store.Image("snapshot")
	if err != nil {
		t.Fatal(err)
	}
	return image.TopLayer
}

// use starts from the snapshot.
func use(t *testing.T, e *Engine) error {
	t.Helper()
	c, err := e.From(t.Context(), "snapshot")
	if err != nil {
		return err
	}
	return c.Close()
}

// loseBit changes the contents of a file like a bad disk or a crash: the result of lstat stays the
// same. As no program can set a ctime, the new ctime is written to the seal.
func loseBit(t *testing.T, e *Engine, file string) {
	t.Helper()
	if err := flip(file); err != nil {
		t.Fatal(err)
	}
	id := topLayer(t, e)
	looks, err := filetree.Scan(t.Context(), e.layers.tree(id))
	if err != nil {
		t.Fatal(err)
	}
	s := sealOf(t, e)
	s.Looks = looks.Looks()
	if err := e.layers.writeSeal(id, s); err != nil {
		t.Fatal(err)
	}
}

func sealOf(t *testing.T, e *Engine) seal {
	t.Helper()
	layer, err := e.store.Layer(topLayer(t, e))
	if err != nil {
		t.Fatal(err)
	}
	s, err := readSeal(layer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContentsAreReadOncePerBoot(t *testing.T) {
	t.Parallel()
	e, file := sealed(t)
	e.boot = "another"
	if err := use(t, e); err != nil {
		t.Fatalf("after a reboot without damage: %v", err)
	}
	loseBit(t, e, file)
	if err := use(t, e); err != nil {
		t.Errorf("the contents were read again in one boot: %v", err)
	}
	e.boot = "a third"
	if err := use(t, e); !errors.Is(err, errDamaged) || !errors.Is(err, fs.ErrNotExist) || e.Has("snapshot") {
		t.Errorf("after a reboot: %v", err)
	}
}

func TestContentsAreReadAgainAfterDays(t *testing.T) {
	t.Parallel()
	e, file := sealed(t)
	now := time.Unix(1_700_000_000, 0)
	e.options.Now = func() time.Time { return now }
	if err := use(t, e); err != nil {
		t.Fatal(err)
	}
	loseBit(t, e, file)
	now = now.Add(maxUnread)
	if err := use(t, e); err != nil {
		t.Errorf("the contents were read again too early: %v", err)
	}
	now = now.Add(time.Second)
	if err := use(t, e); !errors.Is(err, errDamaged) {
		t.Errorf("after %s: %v", maxUnread, err)
	}
}

func TestVerifyReadsContents(t *testing.T) {
	t.Parallel()
	e, file := sealed(t)
	var reported []Damage
	e.options.Damaged = func(d Damage) { reported = append(reported, d) }
	if all, damaged, err := e.Verify(t.Context(), nil); all != 1 || damaged != 0 || err != nil || len(reported) != 0 {
		t.Errorf("intact: %d of %d damaged (%v), reported %v", damaged, all, err, reported)
	}
	loseBit(t, e, file)
	if err := use(t, e); err != nil {
		t.Fatalf("the result of lstat and the boot are the same: %v", err)
	}
	if all, damaged, err := e.Verify(t.Context(), nil); all != 1 || damaged != 1 || err != nil {
		t.Errorf("damaged: %d of %d damaged (%v)", damaged, all, err)
	}
	if len(reported) != 1 || reported[0].Snapshot.Name != "snapshot" || reported[0].Err == nil {
		t.Errorf("reported %v", reported)
	}
	if e.Has("snapshot") {
		t.Error("the damaged snapshot still exists")
	}
}

// A restored backup has other ctimes, and the number of hard links may change: neither is damage.
func TestChangedCtimesAreNotDamage(t *testing.T) {
	t.Parallel()
	e, file := sealed(t)
	before := sealOf(t, e)
	dir, err := os.Stat(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	// A backup restores the time of the directory as well.
	err = errors.Join(os.Link(file, file+"-"), os.Remove(file+"-"),
		os.Chtimes(filepath.Dir(file), dir.ModTime(), dir.ModTime()))
	if err != nil {
		t.Fatal(err)
	}
	if err := use(t, e); err != nil {
		t.Errorf("got %v", err)
	}
	if after := sealOf(t, e); after.Looks == before.Looks || after.Contents != before.Contents {
		t.Errorf("before %v, after %v: the new ctimes were not recorded", before, after)
	}
}

// "rm -rf" is enough to remove a cache whose files belong to the user.
func TestOverlayWorkDirectoriesCanBeRemoved(t *testing.T) {
	t.Parallel()
	needsNamespaces(t)
	e := openEngineAt(t, t.TempDir(), host.DriverOverlay)
	c := emptyRoot(t, e) // mounted
	if err := c.Snapshot(t.Context(), "snapshot", nil); err != nil {
		t.Fatal(err)
	}
	work := 0
	err := filepath.WalkDir(e.layers.graph, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(name)) == "work" {
			work++
		}
		if info.Mode()&0o700 != 0o700 {
			t.Errorf("%s has the mode %v", name, info.Mode())
		}
		return nil
	})
	if err != nil || work < 2 {
		t.Errorf("%d work directories (%v), want those of two layers", work, err)
	}
}
