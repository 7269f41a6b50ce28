// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// aheadLimit is the maximum number of entries that are read ahead of the walk.
const aheadLimit = 8192

// readAhead lists directories before a walk reaches them. A walk consists of system calls, which
// take twice as long as the planning that waits for them.
type readAhead struct {
	lister  lister // used by the walking goroutine; each worker has a copy
	workers sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond  // next, pending or stopped
	next    []*listing // candidates for reading; the one that the walk needs first is the last
	pending int        // number of entries that were read and not yet taken
	stopped bool
}

// newReadAhead starts reading below root, which the caller closes. owners enables owner xattrs.
func newReadAhead(root *os.File, owners bool) *readAhead {
	a := &readAhead{lister: lister{root: root, xattrs: xattrReader{owners: owners}}}
	a.changed.L = &a.mu
	for range runtime.GOMAXPROCS(0) - 1 { // the walk itself uses one
		own := a.lister
		a.workers.Go(func() { a.work(&own) })
	}
	return a
}

// rootEntry returns the entry of the root.
func (a *readAhead) rootEntry() (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(a.lister.root.Fd()), &st); err != nil {
		return Entry{}, err
	}
	return a.lister.entry(newOpenDir(a.lister.root), rootName, rootName, &st)
}

// take returns the content of a directory, once. With an error, it returns the entries before it.
func (a *readAhead) take(l *listing) ([]child, error) {
	if a.begin(l) {
		a.read(&a.lister, l)
	} else {
		a.help(l)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending -= len(l.children)
	a.changed.Broadcast()
	children := l.children
	l.children = nil
	return children, l.err
}

// help reads other directories until another goroutine has read l. The workers begin with what the
// walk needs next, so without this the walk would always wait for them.
func (a *readAhead) help(l *listing) {
	for !l.complete() {
		other := a.tryPop()
		if other == nil {
			<-l.done
			return
		}
		if a.begin(other) {
			a.read(&a.lister, other)
		}
	}
}

// begin reports whether the caller must read the directory: it is the first to begin.
func (a *readAhead) begin(l *listing) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine := !l.begun
	l.begun = true
	return mine
}

// read reads a directory and queues its subdirectories.
func (a *readAhead) read(r *lister, l *listing) {
	r.list(l)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending += len(l.children)
	for _, c := range slices.Backward(l.children) {
		if c.sub != nil {
			a.next = append(a.next, c.sub)
		}
	}
	close(l.done)
	a.changed.Broadcast()
}

// work reads directories until the walk ends.
func (a *readAhead) work(r *lister) {
	for {
		l := a.pop()
		if l == nil {
			return
		}
		if a.begin(l) {
			a.read(r, l)
		}
	}
}

// pop waits for a directory to read. It returns nil when the walk has ended.
func (a *readAhead) pop() *listing {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.stopped && !a.ready() {
		a.changed.Wait()
	}
	if a.stopped {
		return nil
	}
	return a.popNext()
}

// tryPop returns a directory to read, or nil if there is none.
func (a *readAhead) tryPop() *listing {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ready() {
		return nil
	}
	return a.popNext()
}

// ready reports whether a directory may be read. The caller holds the lock, as for popNext.
func (a *readAhead) ready() bool { return len(a.next) > 0 && a.pending <= aheadLimit }

func (a *readAhead) popNext() *listing {
	last := len(a.next) - 1
	l := a.next[last]
	a.next = a.next[:last]
	return l
}

// stop ends the reading and waits until no worker uses the root.
func (a *readAhead) stop() {
	a.mu.Lock()
	a.stopped = true
	a.changed.Broadcast()
	a.mu.Unlock()
	a.workers.Wait()
}
