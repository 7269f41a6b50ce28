// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Opening a named pipe waits for its writer (issue 12, A7).
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(file, []byte("text"), 0o600),
		os.Symlink("file", dir+"/link"), os.Symlink("fifo", dir+"/tofifo"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		fifo: "a named pipe", dir + "/tofifo": "a named pipe", dir: "a directory", "/dev/null": "a device",
		dir + "/nothing": "no such file",
	} {
		for _, open := range []func(string) (*os.File, error){OpenRegular, OpenImage} {
			if f, err := open(name); err == nil || !strings.Contains(err.Error(), want) ||
				!strings.Contains(err.Error(), name) {
				t.Errorf("%s: got %v (%v), want %q", name, f, err, want)
			}
		}
	}
	for _, name := range []string{file, dir + "/link"} {
		if data, err := ReadRegular(name); err != nil || string(data) != "text" {
			t.Errorf("%s: got %q (%v)", name, data, err)
		}
	}
}

func TestCancelReaderAtEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := CancelReaderAt(ctx, bytes.NewReader([]byte("text")))
	if n, err := r.ReadAt(make([]byte, 4), 0); n != 4 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	cancel()
	if _, err := r.ReadAt(make([]byte, 4), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
