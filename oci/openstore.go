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
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// openStore opens the store of a driver. A store whose indexes cannot be read has lost all its
// snapshots; it is replaced by a new one, unless another build uses it. Stale sessions do not count
// as users.
func (s *Store) openStore(driver string, stale []*session) error {
	s.graph = filepath.Join(s.options.StateDir, "store-"+s.storeName)
	options := storage.StoreOptions{
		GraphRoot: s.graph, GraphDriverName: driver,
		// Private to this process: its mounts are in its own namespace.
		RunRoot: filepath.Join(s.session.dir, "run"),
	}
	if driver == host.DriverOverlay {
		options.GraphDriverOptions = []string{"overlay.skip_mount_home=true"}
	}
	err := s.loadStore(options)
	if err != nil {
		err = s.replaceStore(options, stale, err)
	}
	if err != nil {
		return err
	}
	layers := filepath.Join(s.graph, driver)
	if driver == host.DriverVFS {
		layers = filepath.Join(layers, "dir")
	}
	if err := spread(layers); err != nil {
		s.options.Log.Debug("could not spread the layers over the disk", "error", err)
	}
	s.options.Log.Debug("container store", "dir", s.graph, "driver", driver)
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

// loadStore opens the store and reads its indexes.
func (s *Store) loadStore(options storage.StoreOptions) (err error) {
	if err := s.checkIndexes(); err != nil {
		return err
	}
	store, err := storage.GetStore(options)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			store.Free()
		}
	}()
	driver, err := store.GraphDriver()
	if err != nil {
		return err
	}
	if _, err := store.Layers(); err != nil {
		return err
	}
	if _, err := store.Images(); err != nil {
		return err
	}
	s.store, s.driver = store, driver
	return nil
}

// checkIndexes rejects what the library does not: another file type in place of its files, which
// makes it panic, and empty indexes, which a crash leaves and which it reads as empty lists.
func (s *Store) checkIndexes() error {
	dir := os.DirFS(s.graph)
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
				return fmt.Errorf("%s is not a regular file", filepath.Join(s.graph, name))
			}
			if info.Size() == 0 && path.Ext(name) == ".json" {
				return fmt.Errorf("%s is empty", filepath.Join(s.graph, name))
			}
		}
	}
	return nil
}

// replaceStore creates a new store in place of one that cannot be opened because of cause. If the
// new one cannot be opened either, the old one was not at fault and is restored.
func (s *Store) replaceStore(options storage.StoreOptions, stale []*session, cause error) (err error) {
	// While this lock is held, no session begins to use the store.
	all, err := lockSessions(s.options.StateDir)
	if err != nil {
		return errors.Join(cause, err)
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	used, err := s.usedByOthers(stale)
	if err != nil {
		return errors.Join(cause, err)
	}
	if used {
		return fmt.Errorf("%w; it cannot be replaced while other builds use it", cause)
	}
	aside, err := moveAside(s.graph)
	if err != nil {
		return errors.Join(cause, err)
	}
	if again := s.loadStore(options); again != nil {
		return errors.Join(cause, os.RemoveAll(s.graph), os.Rename(aside, s.graph))
	}
	s.reportDamage(Damage{Err: cause})
	if err := os.RemoveAll(aside); err != nil {
		s.options.Log.Info("could not remove all of the damaged store", "error", err)
	}
	return nil
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
		return err != nil || string(store) == s.storeName
	}), err
}

// collectGarbage removes files that the store's indexes do not list: those of layers and images
// whose entries were lost.
func (s *Store) collectGarbage() error {
	err := s.store.GarbageCollect()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the store is empty, or another process was faster
	}
	return err
}
