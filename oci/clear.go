// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
)

// ErrInUse reports that an Engine or a Pull of another process uses a directory.
var ErrInUse = errors.New("another build uses it")

// removedMark is in the names of files that are being removed, followed by random text. The next
// Clear or Open removes what a killed process left.
const removedMark = ".removed-"

// Clear removes a StateDir with its contents, and other directories of builds with it. It reads
// nothing that could be damaged, and needs no free space on the disk. Files of several IDs can only
// be removed inside, see Place. The error wraps ErrInUse if an Engine has stateDir open or a Pull
// uses one of the others; then nothing is removed.
func Clear(ctx context.Context, stateDir string, others ...string) error {
	dirs := append([]string{stateDir}, others...)
	if err := clearDirs(ctx, dirs); err != nil {
		return fmt.Errorf("clear %s: %w", filepath.Dir(stateDir), err)
	}
	return nil
}

func clearDirs(ctx context.Context, dirs []string) error {
	aside, err := moveAllAside(dirs)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		left, err := movedAside(dir)
		if err != nil {
			return err
		}
		aside = append(aside, left...)
	}
	slices.Sort(aside)
	var errs []error
	for _, name := range slices.Compact(aside) {
		if err := ctx.Err(); err != nil {
			return err
		}
		errs = append(errs, os.RemoveAll(name))
	}
	return errors.Join(errs...)
}

// moveAllAside renames directories, unless an Engine has the first one open, so that the next build
// does not find them half removed. A directory that cannot be renamed because it is a mount point
// is emptied while other processes wait for the lock.
func moveAllAside(dirs []string) (aside []string, err error) {
	if info, err := os.Stat(dirs[0]); err == nil && info.IsDir() {
		all, err := lockSessions(dirs[0])
		if err != nil {
			return nil, err
		}
		defer all.Close() // only a lock: nothing was written
		alive, err := liveSessions(dirs[0])
		if err != nil {
			return nil, err
		}
		if len(alive) > 0 {
			return nil, ErrInUse
		}
	}
	for _, dir := range dirs[1:] {
		entries, _ := os.ReadDir(dir) // if it cannot be read, it is not a directory in use
		for _, d := range entries {
			if strings.HasPrefix(d.Name(), registry.PullPrefix) && dirfd.Locked(filepath.Join(dir, d.Name())) {
				return nil, ErrInUse
			}
		}
	}
	for _, dir := range dirs {
		// The name may be a link to a larger disk.
		real, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return aside, err
		}
		name, err := moveAside(real)
		if err != nil {
			if err := removeEntries(real); err != nil {
				return aside, err
			}
			continue
		}
		aside = append(aside, name)
	}
	return aside, nil
}

// moveAside renames a file within its directory and returns the new name.
func moveAside(name string) (string, error) {
	aside := name + removedMark + rand.Text()
	return aside, os.Rename(name, aside)
}

// removeEntries removes the contents of a directory.
func removeEntries(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, d.Name())))
	}
	return errors.Join(errs...)
}

// movedAside lists what moveAside made of a file of that name and nobody removed yet.
func movedAside(name string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, d := range entries {
		if strings.HasPrefix(d.Name(), filepath.Base(name)+removedMark) {
			names = append(names, filepath.Join(filepath.Dir(name), d.Name()))
		}
	}
	return names, err
}

// storeNames lists the stores that clean leaves to the engines using them. removeGarbage cleans any
// other.
var storeNames = []string{host.DriverOverlay, host.DriverVFS, host.DriverOverlay + singleSuffix,
	host.DriverVFS + singleSuffix}

// cleaner removes from a store what no snapshot or live session needs.
type cleaner struct {
	store    storage.Store
	name     string // of the store
	stateDir string
}

// clean removes what a stale session left in the store, and the session. A session of another store
// is left alone. A session without a record of its store did not use one yet, or lost the record;
// then removeGarbage of that store does the rest.
func (c *cleaner) clean(old *session) error {
	store, err := os.ReadFile(filepath.Join(old.dir, "driver"))
	if err == nil && string(store) != c.name && slices.Contains(storeNames, string(store)) {
		return nil
	}
	return errors.Join(c.removeLeftovers(old.name), old.end())
}

// removeLeftovers removes the layers that a session was writing when it was killed.
func (c *cleaner) removeLeftovers(sessionName string) error {
	left := func(name string) bool { return strings.HasPrefix(name, workPrefix+sessionName+"/") }
	var errs []error
	layers, err := c.store.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if slices.ContainsFunc(layer.Names, left) {
			errs = append(errs, c.removeLeftover(layer.ID))
		}
	}
	return errors.Join(errs...)
}

// removeLeftover removes one layer, unless it is already a snapshot: the layer of an image with a
// name.
func (c *cleaner) removeLeftover(layer string) error {
	images, err := c.store.ImagesByTopLayer(layer)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return err
	}
	finished := false
	for _, image := range images {
		if len(image.Names) > 0 {
			finished = true
			continue
		}
		if _, err := c.store.DeleteImage(image.ID, true); err != nil {
			return err
		}
	}
	if finished {
		return c.store.SetNames(layer, nil)
	}
	// Deleting its image may have deleted it, too.
	if err := c.store.DeleteLayer(layer); err != nil && !errors.Is(err, storage.ErrNotALayer) {
		return err
	}
	return nil
}

// removeGarbage removes images without a name whose layer is not being written (others have
// replaced them), layers without a name on which nothing rests, layers of sessions that no longer
// exist, and files that the indexes of the store do not list. Another process may do the same at
// this moment.
func (c *cleaner) removeGarbage() error {
	images, err := c.store.Images()
	if err != nil {
		return err
	}
	for _, image := range images {
		if len(image.Names) > 0 {
			continue
		}
		layer, err := c.store.Layer(image.TopLayer)
		if err == nil && len(layer.Names) > 0 {
			continue
		}
		if _, err := c.store.DeleteImage(image.ID, true); err != nil && !errors.Is(err, storage.ErrNotAnImage) &&
			!errors.Is(err, storage.ErrImageUsedByContainer) && !errors.Is(err, storage.ErrLayerUnknown) {
			return err
		}
	}
	if err := errors.Join(c.removeOrphans(), c.collectGarbage()); err != nil {
		return err
	}
	for {
		removed, err := c.removeLooseLayers()
		if !removed || err != nil {
			return err
		}
	}
}

// removeOrphans removes the layers of sessions without a directory: a session creates its directory
// before its layers.
func (c *cleaner) removeOrphans() error {
	layers, err := c.store.Layers()
	if err != nil {
		return err
	}
	var errs []error
	for _, layer := range layers {
		for _, name := range layer.Names {
			rest, ok := strings.CutPrefix(name, workPrefix)
			session, _, _ := strings.Cut(rest, "/")
			if !ok {
				continue
			}
			if _, err := os.Lstat(filepath.Join(sessionsDir(c.stateDir), session)); errors.Is(err,
				fs.ErrNotExist) {
				errs = append(errs, c.removeLeftover(layer.ID))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// removeLooseLayers removes the topmost layers that are not needed, and reports whether there were
// any.
func (c *cleaner) removeLooseLayers() (removed bool, err error) {
	layers, err := c.store.Layers()
	if err != nil {
		return false, err
	}
	images, err := c.store.Images()
	if err != nil {
		return false, err
	}
	needed := map[string]bool{}
	for _, image := range images {
		needed[image.TopLayer] = true
	}
	for _, layer := range layers {
		needed[layer.Parent] = true
	}
	for _, layer := range layers {
		if needed[layer.ID] || len(layer.Names) > 0 {
			continue
		}
		switch err := c.store.DeleteLayer(layer.ID); {
		case err == nil:
			removed = true
		case errors.Is(err, storage.ErrNotALayer), errors.Is(err, storage.ErrLayerUsedByContainer),
			errors.Is(err, storage.ErrLayerUsedByImage), errors.Is(err, storage.ErrLayerHasChildren):
			// Another process removed it, or needs it by now.
		default:
			return removed, err
		}
	}
	return removed, nil
}

// collectGarbage removes files that the store's indexes do not list: those of layers and images
// whose entries were lost.
func (c *cleaner) collectGarbage() error {
	err := c.store.GarbageCollect()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the store is empty, or another process was faster
	}
	return err
}
