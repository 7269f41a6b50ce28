// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// Issue 15: of builds that need the same result, one makes it and the others wait.
func TestLockHasOneHolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const builds = 10
	var mu sync.Mutex
	holders, waits := 0, 0
	var wg sync.WaitGroup
	for range builds {
		e := openEngineAt(t, dir, host.DriverVFS)
		wg.Go(func() {
			unlock, waited, err := e.Lock(t.Context(), "name", func() {
				mu.Lock()
				defer mu.Unlock()
				waits++
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if holders++; holders != 1 {
				t.Errorf("%d hold the lock", holders)
			}
			mu.Unlock()
			_, _, err = e.Lock(canceled(t), "name", func() {})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a second holder, after a wait %v: %v", waited, err)
			}
			if other, waited, err := e.Lock(t.Context(), "other of "+e.session.name, nil); err != nil || waited {
				t.Errorf("another name is locked, too: %v, %v", waited, err)
			} else if err := other(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			holders--
			mu.Unlock()
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(filepath.Join(dir, "locks")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v (%v)", left, err)
	}
}

// canceled returns a context that is done.
func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
