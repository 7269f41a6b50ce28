// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// aheadLimit is how many entries are kept that the walk has not come to yet.
const aheadLimit = 8192

// readAhead lists directories before a walk comes to them. A walk is nothing but system calls, which take twice as long
// as the planning that waits for them.
type readAhead struct {
	lister  lister // of the goroutine that walks; its copies are the workers'
	workers sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond  // next, pending or stopped
	next    []*listing // not begun as far as is known; what the walk will need first comes last
	pending int        // entries that have been read and not been taken
	stopped bool
}

// newReadAhead starts reading below root, which stays the caller's. owners says that those are in extended attributes.
func newReadAhead(root *os.File, owners bool) *readAhead {
	a := &readAhead{lister: lister{root: root, xattrs: xattrReader{owners: owners}}}
	a.changed.L = &a.mu
	for range runtime.GOMAXPROCS(0) - 1 { // the walk itself is one
		own := a.lister
		a.workers.Go(func() { a.work(&own) })
	}
	return a
}

// rootEntry describes the root.
func (a *readAhead) rootEntry() (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(a.lister.root.Fd()), &st); err != nil {
		return Entry{}, err
	}
	return a.lister.entry(newOpenDir(a.lister.root), rootName, rootName, &st)
}

// take returns what is in a directory, once. After an error there are the entries before it.
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

// help reads other directories until whoever reads l is done with it. What the walk needs next is what the
// workers begin with, so that it would wait for them all the time.
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

// begin reports whether the caller is the one who has to read a directory.
func (a *readAhead) begin(l *listing) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine := !l.begun
	l.begun = true
	return mine
}

// read reads a directory and queues those in it.
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

// pop waits for a directory to read; nil means that the walk has ended.
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

// tryPop returns a directory to read if there is one.
func (a *readAhead) tryPop() *listing {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ready() {
		return nil
	}
	return a.popNext()
}

// ready reports whether a directory may be read. The lock is held, as for popNext.
func (a *readAhead) ready() bool { return len(a.next) > 0 && a.pending <= aheadLimit }

func (a *readAhead) popNext() *listing {
	last := len(a.next) - 1
	l := a.next[last]
	a.next = a.next[:last]
	return l
}

// stop ends the reading and waits until nobody uses the root any more.
func (a *readAhead) stop() {
	a.mu.Lock()
	a.stopped = true
	a.changed.Broadcast()
	a.mu.Unlock()
	a.workers.Wait()
}
