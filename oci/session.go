// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// session is one opened Engine, as a directory below StateDir. Its lock is held as long as the
// process lives: a session that another process can lock is over, and what it left may be removed.
//
//	sessions/NAME/lock   locked by flock(2)
//	sessions/NAME/driver the name of the store that it uses, one of storeNames
//	sessions/NAME/run    the store's state of its mounts
//	sessions/NAME/tmp    temporary files of the engine's caller
//	sessions/NAME/etc    the initial content of /run in containers
//	sessions.lock        locked while a session begins or sessions are listed
type session struct {
	name string
	dir  string
	lock *os.File
}

// workPrefix starts the names of layers that are being written; the session's name and a slash
// follow.
const workPrefix = "vmdebootstrap-work/"

// begin creates the session of this engine and returns the stale ones, locked.
func (s *Store) begin() (stale []*session, err error) {
	all, err := lockSessions(s.options.StateDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	if err := s.removeMovedAside(); err != nil {
		s.options.Log.Info("could not remove what a killed process was removing", "error", err)
	}
	dir := sessionsDir(s.options.StateDir)
	old, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range old {
		taken, err := lockStale(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, err
		}
		if taken != nil {
			stale = append(stale, taken)
		}
	}
	taken := &session{name: rand.Text()}
	taken.dir = filepath.Join(dir, taken.name)
	for _, d := range []string{taken.dir, filepath.Join(taken.dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	if taken.lock, err = lockFile(filepath.Join(taken.dir, "lock"), unix.LOCK_EX); err != nil {
		return nil, err
	}
	s.session = taken
	return stale, nil
}

func sessionsDir(stateDir string) string { return filepath.Join(stateDir, "sessions") }

// lockSessions prevents other processes from starting and listing sessions until the file is
// closed. A file of another type in place of the directory or the lock holds no session and is
// replaced. While this waits, Clear may move everything away.
func lockSessions(stateDir string) (*os.File, error) {
	const tries = 100 // each fails only if Clear runs at that moment
	dir := sessionsDir(stateDir)
	for try := 1; ; try++ {
		err := os.MkdirAll(dir, 0o700)
		if errors.Is(err, unix.ENOTDIR) {
			err = errors.Join(os.Remove(dir), os.Mkdir(dir, 0o700))
		}
		var lock *os.File
		if err == nil {
			lock, err = makeLock(dir+".lock", unix.LOCK_EX)
		}
		if err == nil {
			if err = stillNamed(lock); err == nil {
				return lock, nil
			}
			if closeErr := lock.Close(); closeErr != nil {
				return nil, errors.Join(err, closeErr)
			}
		}
		if !errors.Is(err, fs.ErrNotExist) || try == tries {
			return nil, err
		}
	}
}

// stillNamed checks that an open file still is the one of its name. The error wraps fs.ErrNotExist
// if it is not.
func stillNamed(f *os.File) error {
	now, err := os.Stat(f.Name())
	if err != nil {
		return err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(now, opened) {
		err = &os.PathError{Op: "lock", Path: f.Name(), Err: fs.ErrNotExist}
	}
	return err
}

// makeLock is lockFile for a name that only this package uses: a directory of that name is removed.
func makeLock(name string, how int) (*os.File, error) {
	f, err := lockFile(name, how)
	if !errors.Is(err, unix.EISDIR) {
		return f, err
	}
	if err := os.RemoveAll(name); err != nil {
		return nil, err
	}
	return lockFile(name, how)
}

// lockStale locks the session in dir if it is over; it returns nil if the session is alive, or is
// gone since it was listed. A file that is not a session is removed.
func lockStale(dir string) (*session, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, os.Remove(dir)
	}
	s := &session{name: filepath.Base(dir), dir: dir}
	s.lock, err = makeLock(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return s, err
}

// liveSessions lists the directories of sessions that are alive. The caller has locked the
// sessions.
func liveSessions(stateDir string) (alive []string, err error) {
	entries, err := os.ReadDir(sessionsDir(stateDir))
	if err != nil {
		return nil, err
	}
	for _, d := range entries {
		name := filepath.Join(sessionsDir(stateDir), d.Name())
		lock, err := os.OpenFile(filepath.Join(name, "lock"), os.O_RDWR, 0)
		if err != nil {
			continue // a lock that is missing or not a file cannot be held
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			alive = append(alive, name)
		}
		if err := lock.Close(); err != nil {
			return nil, err
		}
	}
	return alive, nil
}

// removeMovedAside removes what a killed Open or Clear was removing. The caller has locked the
// sessions.
func (s *Store) removeMovedAside() error {
	names, err := movedAside(s.options.StateDir)
	errs := []error{err}
	entries, err := os.ReadDir(s.options.StateDir)
	errs = append(errs, err)
	for _, d := range entries {
		if strings.Contains(d.Name(), removedMark) {
			names = append(names, filepath.Join(s.options.StateDir, d.Name()))
		}
	}
	for _, name := range names {
		errs = append(errs, os.RemoveAll(name))
	}
	return errors.Join(errs...)
}

// lockFile opens a file, creating it if it does not exist, and locks it until it is closed.
func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

// setStore records which store the session uses, before it does.
func (s *session) setStore(name string) error {
	return os.WriteFile(filepath.Join(s.dir, "driver"), []byte(name), 0o600)
}

// clean removes what a stale session left in the store, and the session. A session of another store
// is left alone. A session without a record of its store did not use one yet, or lost the record;
// then removeGarbage of that store does the rest.
func (s *Store) clean(old *session) error {
	store, err := os.ReadFile(filepath.Join(old.dir, "driver"))
	if err == nil && string(store) != s.storeName && slices.Contains(storeNames, string(store)) {
		return nil
	}
	return errors.Join(s.removeLeftovers(old.name), old.end())
}

// storeNames lists the stores that clean leaves to the engines using them. removeGarbage cleans any
// other.
var storeNames = []string{host.DriverOverlay, host.DriverVFS, host.DriverOverlay + singleSuffix,
	host.DriverVFS + singleSuffix}

// end removes the session's directory and releases its lock. It removes the lock last, while
// holding it.
func (s *session) end() error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	errs := []error{err}
	for _, d := range entries {
		if d.Name() != "lock" {
			errs = append(errs, os.RemoveAll(filepath.Join(s.dir, d.Name())))
		}
	}
	if errors.Join(errs...) == nil {
		errs = append(errs, s.remove())
	}
	return errors.Join(append(errs, s.unlock())...)
}

// remove removes the session's directory, which contains only the lock by now. It keeps other
// processes from listing sessions meanwhile: they would create another lock in there.
func (s *session) remove() (err error) {
	all, err := lockFile(filepath.Dir(s.dir)+".lock", unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the state directory is gone
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	return os.RemoveAll(s.dir)
}

// unlock releases the lock; it may be called more than once. Closing the file is not enough: a
// process that is being started has a copy of the descriptor until it calls exec.
func (s *session) unlock() error {
	unlocked := unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
	err := s.lock.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(unlocked, err)
}

// workName returns a new name for a layer that this session writes.
func (s *session) workName() string { return workPrefix + s.name + "/" + rand.Text() }

// removeLeftovers removes the layers that a session was writing when it was killed.
func (s *Store) removeLeftovers(sessionName string) error {
	left := func(name string) bool { return strings.HasPrefix(name, workPrefix+sessionName+"/") }
	var errs []error
	layers, err := s.store.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if slices.ContainsFunc(layer.Names, left) {
			errs = append(errs, s.removeLeftover(layer.ID))
		}
	}
	return errors.Join(errs...)
}

// removeLeftover removes one layer, unless it is already a snapshot: the layer of an image with a
// name.
func (s *Store) removeLeftover(layer string) error {
	images, err := s.store.ImagesByTopLayer(layer)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return err
	}
	finished := false
	for _, image := range images {
		if len(image.Names) > 0 {
			finished = true
			continue
		}
		if _, err := s.store.DeleteImage(image.ID, true); err != nil {
			return err
		}
	}
	if finished {
		return s.store.SetNames(layer, nil)
	}
	// Deleting its image may have deleted it, too.
	if err := s.store.DeleteLayer(layer); err != nil && !errors.Is(err, storage.ErrNotALayer) {
		return err
	}
	return nil
}

// removeGarbage removes images without a name whose layer is not being written (others have
// replaced them), layers without a name on which nothing rests, layers of sessions that no longer
// exist, and files that the indexes of the store do not list. Another process may do the same at
// this moment.
func (s *Store) removeGarbage() error {
	images, err := s.store.Images()
	if err != nil {
		return err
	}
	for _, image := range images {
		if len(image.Names) > 0 {
			continue
		}
		layer, err := s.store.Layer(image.TopLayer)
		if err == nil && len(layer.Names) > 0 {
			continue
		}
		if _, err := s.store.DeleteImage(image.ID, true); err != nil && !errors.Is(err, storage.ErrNotAnImage) &&
			!errors.Is(err, storage.ErrImageUsedByContainer) && !errors.Is(err, storage.ErrLayerUnknown) {
			return err
		}
	}
	if err := errors.Join(s.removeOrphans(), s.collectGarbage()); err != nil {
		return err
	}
	for {
		removed, err := s.removeLooseLayers()
		if !removed || err != nil {
			return err
		}
	}
}

// removeOrphans removes the layers of sessions without a directory: a session creates its directory
// before its layers.
func (s *Store) removeOrphans() error {
	layers, err := s.store.Layers()
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
			if _, err := os.Lstat(filepath.Join(sessionsDir(s.options.StateDir), session)); errors.Is(err,
				fs.ErrNotExist) {
				errs = append(errs, s.removeLeftover(layer.ID))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// removeLooseLayers removes the topmost layers that are not needed, and reports whether there were
// any.
func (s *Store) removeLooseLayers() (removed bool, err error) {
	layers, err := s.store.Layers()
	if err != nil {
		return false, err
	}
	images, err := s.store.Images()
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
		switch err := s.store.DeleteLayer(layer.ID); {
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
