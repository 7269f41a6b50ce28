// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"sync"

	"golang.org/x/sys/unix"
)

// FullWriter is an io.WriterAt on which there is room for a number of bytes. The write that goes beyond fails with
// ENOSPC after what fits, as do all later ones. Content is dropped. Goroutines may share one.
type FullWriter struct {
	mu   sync.Mutex
	room int64
}

// NewFullWriter makes one that takes room bytes.
func NewFullWriter(room int64) *FullWriter { return &FullWriter{room: room} }

// WriteAt implements io.WriterAt.
func (w *FullWriter) WriteAt(b []byte, _ int64) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if int64(len(b)) <= w.room {
		w.room -= int64(len(b))
		return len(b), nil
	}
	n := int(w.room)
	w.room = 0
	return n, unix.ENOSPC
}

// Room is how much is left.
func (w *FullWriter) Room() int64 { return w.room }
