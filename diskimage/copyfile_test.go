// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// writtenParts records the offsets of writes.
type writtenParts struct {
	data []byte
	at   []int64
}

func (w *writtenParts) WriteAt(p []byte, offset int64) (int, error) {
	w.at = append(w.at, offset)
	return copy(w.data[offset:], p), nil
}

func TestCopyFileSkipsHoles(t *testing.T) {
	t.Parallel()
	const size, far = 64 << 20, 40 << 20
	src, err := os.Create(filepath.Join(t.TempDir(), "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	_, err1 := src.WriteAt(bytes.Repeat([]byte("x"), 5000), 0)
	_, err2 := src.WriteAt([]byte("end"), far)
	if err := errors.Join(err1, err2, src.Truncate(size)); err != nil {
		t.Fatal(err)
	}
	if at, err := unix.Seek(int(src.Fd()), 1<<20, unix.SEEK_DATA); err != nil || at < far-1<<20 {
		t.Fatalf("TMPDIR must be on a file system that has holes: %d, %v", at, err)
	}
	w := &writtenParts{data: make([]byte, size)}
	if err := CopyFile(t.Context(), w, src); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, size)
	if _, err := src.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.data, want) {
		t.Error("the copy differs")
	}
	for _, at := range w.at {
		if at >= 1<<20 && at < far-1<<20 {
			t.Errorf("a hole was written at %d", at)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CopyFile(ctx, w, src); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
