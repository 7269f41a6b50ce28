// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
)

// Sessions begin and end while other programs list them (issue 12, A8).
func TestSessionsMayEndWhileTheyAreListed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const programs, rounds = 8, 100
	var all sync.WaitGroup
	for range programs {
		all.Go(func() {
			for range rounds {
				begun, stale, err := beginSession(dir, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Errorf("begin: %v", err)
					return
				}
				for _, s := range stale {
					err = errors.Join(err, s.end())
				}
				if err := errors.Join(err, begun.end()); err != nil {
					t.Errorf("end: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	if left, err := os.ReadDir(filepath.Join(dir, "sessions")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v (%v)", left, err)
	}
}

// A new directory that is not locked yet looks like the leftover of a killed program.
func TestMakeLockedRetriesIfTheDirectoryWasRemoved(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	calls := 0
	name, lock, err := dirfd.MakeLocked(func() (string, error) {
		name, err := os.MkdirTemp(parent, "dir-")
		if calls++; calls == 1 && err == nil {
			err = dirfd.RemoveUnlocked(name)
		}
		return name, err
	})
	if err != nil || calls != 2 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	if err := dirfd.RemoveUnlocked(name); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Errorf("it was removed while it was locked: %v", err)
	}
	if err := dirfd.Unlock(lock); err != nil {
		t.Error(err)
	}
	if err := dirfd.RemoveUnlocked(name); err != nil {
		t.Error(err)
	}
	if err := unix.Access(name, unix.F_OK); !errors.Is(err, unix.ENOENT) {
		t.Errorf("it still exists: %v", err)
	}
}
