// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A named pipe in place of any file of a source is refused at once, where it is not an archive (issue 12, A7).
func TestSourcesHoldFilesOnly(t *testing.T) {
	t.Parallel()
	layout := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(layout, "index.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	inBlobs := t.TempDir() // the same in place of a blob (issue 15, 6)
	blob := strings.Repeat("a", 64)
	index := `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":9,` +
		`"digest":"sha256:` + blob + `"}]}`
	if err := errors.Join(os.WriteFile(filepath.Join(inBlobs, "index.json"), []byte(index), 0o600),
		os.MkdirAll(filepath.Join(inBlobs, "blobs/sha256"), 0o700),
		unix.Mkfifo(filepath.Join(inBlobs, "blobs/sha256", blob), 0o600)); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"oci:" + layout: "index.json: it is a named pipe",
		"oci:" + inBlobs: blob + ": it is a named pipe",
		"/dev/null":      "neither a regular file nor a pipe"} {
		s, err := ParseSource(text, World{Stat: os.Stat})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(t.Context(), SourceOptions{TempDir: t.TempDir()}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// Whatever is waited for, the end of the context ends it (issue 12, A7).
func TestWaitingForASourceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for _, name := range []string{fifo, "-"} {
		s, err := ParseSource(name, World{Stat: os.Stat})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := s.Open(ctx, SourceOptions{TempDir: t.TempDir(), Stdin: stdin})
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPipesAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	file, in, err := OpenArchive(t.Context(), fifo)
	if err != nil || file != nil {
		t.Fatalf("got %v, %v", file, err)
	}
	defer in.Close()
	written := make(chan error)
	want := strings.Repeat("text", 1<<20)
	go func() {
		out, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err == nil {
			_, err = out.WriteString(want)
			err = errors.Join(err, out.Close())
		}
		written <- err
	}()
	got, err := io.ReadAll(in)
	if err := errors.Join(err, <-written); err != nil || string(got) != want {
		t.Errorf("got %d bytes of %d (%v)", len(got), len(want), err)
	}
}
