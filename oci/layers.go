// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// openStore opens the store of a driver. A store whose indexes cannot be read has lost all its
// snapshots; it is replaced by a new one, unless another build uses it. Stale sessions do not count
// as users.
func (s *Store) openStore(driver string, stale []*session) error {
	options := storage.StoreOptions{
		GraphRoot: filepath.Join(s.options.StateDir, "store-"+s.name), GraphDriverName: driver,
		// Private to this process: its mounts are in its own namespace.
		RunRoot: filepath.Join(s.session.dir, "run"),
	}
	if driver == host.DriverOverlay {
		options.GraphDriverOptions = []string{"overlay.skip_mount_home=true"}
	}
	layers, err := loadLayers(options)
	if err != nil {
		layers, err = s.replaceStore(options, stale, err)
	}
	if err != nil {
		return err
	}
	s.store, s.layers = layers.store, layers
	s.cleaner = &cleaner{store: layers.store, name: s.name, stateDir: s.options.StateDir}
	if err := spread(layers.home()); err != nil {
		s.options.Log.Debug("could not spread the layers over the disk", "error", err)
	}
	s.options.Log.Debug("container store", "dir", layers.graph, "driver", driver)
	return nil
}

// topDir is FS_TOPDIR_FL of <linux/fs.h>, "chattr +T".
const topDir = 0x20000

// spread asks the file system to place each subdirectory of dir, a layer, in a part of the disk of
// its own. ext4 takes a new inode after those that were freed within the last minutes, which it
// checks one by one (recently_deleted in fs/ext4/ialloc.c): next to the remains of a deleted
// container, unpacking took up to four times as long.
func spread(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&topDir != 0 {
		return err
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDir))
}

// layerStore holds the layers of a store: the library's store, its driver, and the directory of both.
type layerStore struct {
	store  storage.Store
	driver graphdriver.Driver
	graph  string
}

// loadLayers opens the store and reads its indexes.
func loadLayers(options storage.StoreOptions) (_ *layerStore, err error) {
	if err := checkIndexes(options.GraphRoot); err != nil {
		return nil, err
	}
	store, err := storage.GetStore(options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			store.Free()
		}
	}()
	driver, err := store.GraphDriver()
	if err != nil {
		return nil, err
	}
	if _, err := store.Layers(); err != nil {
		return nil, err
	}
	if _, err := store.Images(); err != nil {
		return nil, err
	}
	return &layerStore{store: store, driver: driver, graph: options.GraphRoot}, nil
}

// checkIndexes rejects what the library does not: another file type in place of its files, which
// makes it panic, and empty indexes, which a crash leaves and which it reads as empty lists.
func checkIndexes(graph string) error {
	dir := os.DirFS(graph)
	for _, pattern := range []string{"*.lock", "*/*.lock", "*/*.json"} {
		names, err := fs.Glob(dir, pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			info, err := fs.Stat(dir, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // another process has replaced it
			}
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				return fmt.Errorf("%s is not a regular file", filepath.Join(graph, name))
			}
			if info.Size() == 0 && path.Ext(name) == ".json" {
				return fmt.Errorf("%s is empty", filepath.Join(graph, name))
			}
		}
	}
	return nil
}

// replaceStore creates a new store in place of one that cannot be opened because of cause. If the
// new one cannot be opened either, the old one was not at fault and is restored.
func (s *Store) replaceStore(
	options storage.StoreOptions, stale []*session, cause error,
) (layers *layerStore, err error) {
	// While this lock is held, no session begins to use the store.
	all, err := lockSessions(s.options.StateDir)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	used, err := s.usedByOthers(stale)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	if used {
		return nil, fmt.Errorf("%w; it cannot be replaced while other builds use it", cause)
	}
	aside, err := moveAside(options.GraphRoot)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	layers, again := loadLayers(options)
	if again != nil {
		return nil, errors.Join(cause, os.RemoveAll(options.GraphRoot), os.Rename(aside, options.GraphRoot))
	}
	s.reportDamage(Damage{Err: cause})
	if err := os.RemoveAll(aside); err != nil {
		s.options.Log.Info("could not remove all of the damaged store", "error", err)
	}
	return layers, nil
}

// usedByOthers reports whether other live sessions may use this store. The caller has locked the
// sessions.
func (s *Store) usedByOthers(stale []*session) (bool, error) {
	alive, err := liveSessions(s.options.StateDir)
	return slices.ContainsFunc(alive, func(dir string) bool {
		// This engine also holds the locks of stale sessions.
		if dir == s.session.dir || slices.ContainsFunc(stale, func(old *session) bool { return old.dir == dir }) {
			return false
		}
		store, err := os.ReadFile(filepath.Join(dir, "driver"))
		return err != nil || string(store) == s.name
	}), err
}

// home returns the directory in which the driver keeps all layers.
func (l *layerStore) home() string {
	if l.store.GraphDriverName() == host.DriverVFS {
		return filepath.Join(l.graph, host.DriverVFS, "dir")
	}
	return filepath.Join(l.graph, l.store.GraphDriverName())
}

// dir returns the driver's directory of a layer.
func (l *layerStore) dir(id string) string { return filepath.Join(l.home(), id) }

// tree returns the directory of the files that the layer itself holds.
func (l *layerStore) tree(id string) string {
	if l.store.GraphDriverName() == host.DriverVFS {
		return l.dir(id)
	}
	return filepath.Join(l.dir(id), "diff")
}

// chain returns a layer and those below it, the lowest first.
func (l *layerStore) chain(id string) ([]*storage.Layer, error) {
	var chain []*storage.Layer
	for id != "" {
		layer, err := l.store.Layer(id)
		if errors.Is(err, storage.ErrLayerUnknown) {
			return nil, damagef("layer %s is gone", id)
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(chain, func(other *storage.Layer) bool { return other.ID == layer.ID }) {
			return nil, damagef("layer %s is its own ancestor", id)
		}
		chain = append(chain, layer)
		id = layer.Parent
	}
	slices.Reverse(chain)
	return chain, nil
}

// checkLinks compares the overlay driver's record of a layer's parents, which determines what it
// mounts, with the store. drivers/overlay/overlay.go of containers/storage describes the files.
func (l *layerStore) checkLinks(layer *storage.Layer) error {
	if l.store.GraphDriverName() != host.DriverOverlay {
		return nil
	}
	own, lowers, err := l.overlayLinks(layer.ID)
	if err != nil {
		return err
	}
	target, err := os.Readlink(filepath.Join(l.graph, host.DriverOverlay, "l", own))
	if err != nil {
		return err
	}
	if target != filepath.Join("..", layer.ID, "diff") {
		return fmt.Errorf("the store's link to it points to %s", target)
	}
	want := ""
	if layer.Parent != "" {
		parent, above, err := l.overlayLinks(layer.Parent)
		if err != nil {
			return err
		}
		want = filepath.Join("l", parent)
		if above != "" {
			want += ":" + above
		}
	}
	if lowers != want {
		return errors.New("the store's list of the layers below it is damaged")
	}
	return nil
}

// overlayLinks reads the short name of a layer, and those of the layers below it in mount order.
func (l *layerStore) overlayLinks(layer string) (own, lowers string, err error) {
	text, err := os.ReadFile(filepath.Join(l.dir(layer), "link"))
	if err != nil {
		return "", "", err
	}
	below, err := os.ReadFile(filepath.Join(l.dir(layer), "lower"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", "", err
	}
	return string(text), string(below), nil
}

// openWork gives the owner of the store access to the directories that the kernel creates with mode
// 0 for a mounted overlay: otherwise "rm -rf" could not remove them. The kernel itself needs no
// permission there.
func (l *layerStore) openWork(layer string) error {
	if l.store.GraphDriverName() != host.DriverOverlay {
		return nil
	}
	return filepath.WalkDir(filepath.Join(l.dir(layer), "work"),
		func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			return os.Chmod(name, 0o700)
		})
}
