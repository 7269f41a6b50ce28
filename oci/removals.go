// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"sync"
)

// removals removes layers that nobody needs any more while the work goes on: to remove ten thousand files takes seconds
// on some file systems, most of which are waiting. What has been asked for first is removed first, because a layer can
// be removed only after those that rest on it. The zero value is ready for use. If the process is killed, the next
// session removes the rest, see cleaner.
type removals struct {
	mu      sync.Mutex
	queue   []func() error
	running bool
	errs    []error
	worker  sync.WaitGroup
}

// add has remove called soon. what it removes is for its error, which wait returns.
func (r *removals) add(what string, remove func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, func() error {
		if err := remove(); err != nil {
			return fmt.Errorf("remove %s: %w", what, err)
		}
		return nil
	})
	if !r.running {
		r.running = true
		r.worker.Go(r.run)
	}
}

// run calls what is in the queue until it is empty.
func (r *removals) run() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		next := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		err := next()
		r.mu.Lock()
		r.errs = append(r.errs, err)
	}
	r.running = false
}

// wait waits for the end of all removals, and returns the errors of those since the last call.
func (r *removals) wait() error {
	r.worker.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.errs...)
	r.errs = nil
	return err
}
