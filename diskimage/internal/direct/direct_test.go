// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// create returns a file for direct writes, and logs whether the file system supports them.
func create(t *testing.T) *File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	f := &File{File: file, fd: openDirect(file)}
	t.Logf("direct writes are possible here: %v", f.fd >= 0)
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// Writes of many lengths and offsets, including long and aligned ones, are read back through the
// File and another one.
func TestFileHoldsWhatIsWritten(t *testing.T) {
	t.Parallel()
	f := create(t)
	const size = 16 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		unit := []int{1, 512, alignment, shortest}[i%4]
		length := unit * (1 + r.IntN(1<<20/unit))
		offset := r.IntN(size-length) / unit * unit
		part := bytes.Repeat([]byte{byte(i + 1)}, length)
		if n, err := f.WriteAt(part, int64(offset)); n != length || err != nil {
			t.Fatalf("write %d bytes at %d: %d, %v", length, offset, n, err)
		}
		copy(want[offset:], part)
		got := make([]byte, length)
		if _, err := f.ReadAt(got, int64(offset)); err != nil || !bytes.Equal(got, part) {
			t.Fatalf("%d bytes at %d are not read back: %v", length, offset, err)
		}
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has different content: %v", err)
	}
}

func TestConcurrentWrites(t *testing.T) {
	t.Parallel()
	f := create(t)
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			if _, err := f.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 1<<20), int64(i)<<20); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if b != byte(i>>20+1) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

// If the file system rejects direct writes, ordinary ones follow.
func TestRejectedWritesGoThroughThePageCache(t *testing.T) {
	t.Parallel()
	f := create(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// This file stands for such a file system: it returns EINVAL for data that is not a number.
	file, err := os.OpenFile("/proc/self/oom_score_adj", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f.fd = int(file.Fd())
	defer func() { f.fd = -1 }()
	data := bytes.Repeat([]byte("x"), shortest)
	for range 2 {
		if n, err := f.WriteAt(data, 0); n != len(data) || err != nil || !f.rejected.Load() {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file holds %d bytes, %v", len(got), err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	f := create(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	full, err := unix.Open("/dev/full", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.fd = full
	n, err := f.WriteAt(bytes.Repeat([]byte("x"), 4*shortest), 0)
	var pathError *os.PathError
	if n != 0 || !errors.Is(err, unix.ENOSPC) || !errors.As(err, &pathError) || pathError.Path != f.Name() {
		t.Errorf("got %d, %v, want ENOSPC with the name %s", n, err, f.Name())
	}
}

func TestFileIsTheFileThatItWasOpenedOn(t *testing.T) {
	t.Parallel()
	f := create(t)
	if fd, offset, ok := diskimage.FileOf(f); fd != int(f.Fd()) || offset != 0 || !ok {
		t.Errorf("got descriptor %d, offset %d, %v", fd, offset, ok)
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
}
