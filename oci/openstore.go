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

// openStore opens the store of a driver. One whose indexes cannot be read has lost all its snapshots; it makes room for
// a new one, unless another build uses it. Stale sessions are over.
func (s *Store) openStore(driver string, stale []*session) error {
	s.graph = filepath.Join(s.options.StateDir, "store-"+s.storeName)
	options := storage.StoreOptions{
		GraphRoot: s.graph, GraphDriverName: driver,
		// Of this process alone: its mounts are in its own namespace.
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
		s.options.Log.Debug("layers are not spread over the disk", "error", err)
	}
	s.options.Log.Debug("container store", "dir", s.graph, "driver", driver)
	return nil
}

// topDir is FS_TOPDIR_FL of <linux/fs.h>, "chattr +T".
const topDir = 0x20000

// spread asks the file system to give each directory in dir, a layer, a part of the disk of its own. On ext4
// a new inode is taken behind those that were freed within the last minutes, which are looked at one by one
// (recently_deleted in fs/ext4/ialloc.c): beside the remains of a container that was deleted, unpacking took
// up to four times as long.
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

// checkIndexes refuses what the library does not: something else in place of its files, at which it panics, and
// indexes without a byte, which a crash leaves and which it takes for empty lists.
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
				return fmt.Errorf("%s is no file", filepath.Join(s.graph, name))
			}
			if info.Size() == 0 && path.Ext(name) == ".json" {
				return fmt.Errorf("%s is empty", filepath.Join(s.graph, name))
			}
		}
	}
	return nil
}

// replaceStore makes a new store in place of one that cannot be opened because of an error. If that cannot be opened
// either, it was not the fault of the old one, which comes back.
func (s *Store) replaceStore(options storage.StoreOptions, stale []*session, cause error) (err error) {
	// With this lock nobody begins to use it.
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
		return fmt.Errorf("%w; it cannot be made anew before other builds have ended", cause)
	}
	aside, err := moveAside(s.graph)
	if err != nil {
		return errors.Join(cause, err)
	}
	if again := s.loadStore(options); again != nil {
		return errors.Join(cause, os.RemoveAll(s.graph), os.Rename(aside, s.graph))
	}
	s.tell(Damage{Err: cause})
	if err := os.RemoveAll(aside); err != nil {
		s.options.Log.Info("the damaged store is not removed as a whole", "error", err)
	}
	return nil
}

// usedByOthers reports whether other sessions that live may work in this store. The caller has locked the sessions.
func (s *Store) usedByOthers(stale []*session) (bool, error) {
	alive, err := liveSessions(s.options.StateDir)
	return slices.ContainsFunc(alive, func(dir string) bool {
		// The locks of stale ones are this engine's, too.
		if dir == s.session.dir || slices.ContainsFunc(stale, func(old *session) bool { return old.dir == dir }) {
			return false
		}
		store, err := os.ReadFile(filepath.Join(dir, "driver"))
		return err != nil || string(store) == s.storeName
	}), err
}

// collect removes what the store's indexes do not know: of layers and images whose entry was lost.
func (s *Store) collect() error {
	err := s.store.GarbageCollect()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever made, or another process was faster
	}
	return err
}
