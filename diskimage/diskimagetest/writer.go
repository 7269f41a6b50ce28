// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"sync"

	"golang.org/x/sys/unix"
)

// FullWriter is an io.WriterAt that accepts a limited number of bytes. The write that exceeds the
// limit fails with ENOSPC after the bytes that fit, as do all later writes. The content is
// discarded. It is safe for concurrent use.
type FullWriter struct {
	mu   sync.Mutex
	room int64
}

// NewFullWriter returns a writer that accepts room bytes.
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

// Room returns the number of bytes that still fit.
func (w *FullWriter) Room() int64 { return w.room }
