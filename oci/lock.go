// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a process looks whether a lock is free: a wait for flock(2) does not end with a
// context.
const lockPoll = 50 * time.Millisecond

// Lock locks a name, for example that of a snapshot that this build is going to make, until unlock is
// called or the process ends. While another process that uses the same store has locked it, Lock calls
// waiting once, and waits. waited reports whether it did.
func (s *Store) Lock(ctx context.Context, name string, waiting func()) (unlock func() error, waited bool, err error) {
	dir := filepath.Join(s.options.StateDir, "locks")
	file := filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(s.name+"\x00"+name))))
	for {
		f, err := tryLock(file)
		switch {
		case err == nil:
			return func() error { return removeLock(f) }, waited, nil
		case errors.Is(err, fs.ErrNotExist): // the first lock of the store, or another process has just removed it
			err = os.MkdirAll(dir, 0o700)
		case errors.Is(err, unix.EWOULDBLOCK):
			if !waited {
				waiting()
			}
			waited, err = true, nil
			select {
			case <-time.After(lockPoll):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return nil, waited, fmt.Errorf("lock %q: %w", name, err)
		}
	}
}

// tryLock creates and locks a file. The error wraps fs.ErrNotExist if the file was removed meanwhile.
func tryLock(name string) (*os.File, error) {
	f, err := lockFile(name, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, err
	}
	if err := stillNamed(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeLock removes a locked file, and then unlocks it.
func removeLock(f *os.File) error {
	err := os.Remove(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	// A process that is being started has a copy of the descriptor until it calls exec.
	return errors.Join(err, unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}
