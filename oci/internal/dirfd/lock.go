// SPDX-License-Identifier: Apache-2.0

package dirfd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Directories for the time of one call are locked by flock(2) as long as somebody works on them: what a
// killed process has left can be told by that, and is removed by the next.

// MakeLocked makes a directory by a function that finds it a new name, and locks it.
func MakeLocked(make func() (string, error)) (name string, lock *os.File, err error) {
	for {
		if name, err = make(); err != nil {
			return "", nil, err
		}
		lock, err = OpenDir(name)
		if err == nil {
			err = PathError("lock", name, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		}
		if err == nil {
			_, err = os.Lstat(name)
		}
		if err == nil {
			return name, lock, nil
		}
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
		if !errors.Is(err, os.ErrNotExist) { // else another process took it for a leftover, before it was locked
			return "", nil, errors.Join(err, os.RemoveAll(name))
		}
	}
}

// Unlock gives up the lock. To close the file is not enough: a process that is just being started has a copy of the
// descriptor until it runs its program.
func Unlock(lock *os.File) error {
	return errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close())
}

// Locked reports whether somebody works on a directory.
func Locked(name string) bool {
	dir, err := os.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	_ = Unlock(dir) // nothing was written
	return errors.Is(err, unix.EWOULDBLOCK)
}

// RemoveUnlocked removes a directory unless somebody works on it, or it is gone meanwhile, or another user's.
func RemoveUnlocked(name string) (err error) {
	dir, err := os.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	if err := os.RemoveAll(name); err != nil {
		return fmt.Errorf("remove what a killed process has left: %w", err)
	}
	return nil
}
