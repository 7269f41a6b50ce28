// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// digestIndex saves digests of files for later builds, like git's index: such a file need not be read again while its
// state is the same. Every change of a file changes its ctime, which programs cannot set. nil indexes nothing.
type digestIndex struct {
	// file is the file of the index; empty for none. now is the clock.
	file string
	now  func() time.Time

	mu      sync.Mutex
	entries map[string]indexEntry
	// used are the keys that this build has found or added.
	used  map[string]bool
	dirty bool
}

// indexEntry is the digest of a file in a certain state.
type indexEntry struct {
	fileState
	Digest Digest
}

const (
	// maxIndexed limits the number of files in an index, unless one build uses more. 10,000 take 2 MB.
	maxIndexed = 10_000
	// racy is the minimum age of an indexed state: a file that changes twice within the resolution of its times has the
	// same state both times. FAT has the coarsest resolution, two seconds.
	racy = 2 * time.Second
)

// lookup returns the indexed digest of a file in this state.
func (x *digestIndex) lookup(key string, state fileState) (Digest, bool) {
	if x == nil || x.file == "" {
		return "", false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.entries == nil {
		x.used = map[string]bool{}
		if text, err := os.ReadFile(x.file); err != nil || json.Unmarshal(text, &x.entries) != nil || x.entries == nil {
			x.entries = map[string]indexEntry{} // the first build, or a damaged index: all files are read again
		}
	}
	e, found := x.entries[key]
	if !found || e.fileState != state {
		return "", false
	}
	x.used[key] = true
	return e.Digest, true
}

// add indexes the digest of a file that lookup has not found, with its state before it was read. If it changed
// meanwhile, its state differs now; if it changed just before, another change may have left the state the same.
func (x *digestIndex) add(key string, state fileState, digest Digest) {
	if x == nil || x.file == "" || max(state.Mtime, state.Ctime) > x.now().Add(-racy).UnixNano() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries[key], x.used[key], x.dirty = indexEntry{state, digest}, true, true
}

// save writes the index. Of two builds that save at once, one loses entries, and those files are read again.
func (x *digestIndex) save(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.dirty {
		return nil
	}
	if len(x.entries) > maxIndexed {
		maps.DeleteFunc(x.entries, func(key string, _ indexEntry) bool { return !x.used[key] })
	}
	text, err := json.Marshal(x.entries)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(x.file), 0o700); err != nil {
		return err
	}
	x.dirty = false
	return diskimage.WriteFile(ctx, x.file, 0o600, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}
