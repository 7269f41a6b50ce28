// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
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

// beginSession creates a session and returns it with the stale ones, locked.
func beginSession(stateDir string, log *slog.Logger) (begun *session, stale []*session, err error) {
	all, err := lockSessions(stateDir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	if err := removeMovedAside(stateDir); err != nil {
		log.Info("could not remove what a killed process was removing", "error", err)
	}
	dir := sessionsDir(stateDir)
	old, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range old {
		taken, err := lockStale(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, nil, err
		}
		if taken != nil {
			stale = append(stale, taken)
		}
	}
	begun = &session{name: rand.Text()}
	begun.dir = filepath.Join(dir, begun.name)
	for _, d := range []string{begun.dir, filepath.Join(begun.dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, nil, err
		}
	}
	if begun.lock, err = lockFile(filepath.Join(begun.dir, "lock"), unix.LOCK_EX); err != nil {
		return nil, nil, err
	}
	return begun, stale, nil
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
func removeMovedAside(stateDir string) error {
	names, err := movedAside(stateDir)
	errs := []error{err}
	entries, err := os.ReadDir(stateDir)
	errs = append(errs, err)
	for _, d := range entries {
		if strings.Contains(d.Name(), removedMark) {
			names = append(names, filepath.Join(stateDir, d.Name()))
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
