// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpoolDecompressesIntoAFileWithoutAName(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("all of it ", 100_000)
	for _, method := range []Method{None, Gzip, Xz, Zstd} {
		dir := t.TempDir()
		var packed bytes.Buffer
		w, err := NewWriter(&packed, method, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		whole := packed.Bytes()
		f, size, err := Spool(t.Context(), bytes.NewReader(whole), dir)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, size))
		if err != nil || string(got) != text {
			t.Errorf("%s: got %d bytes, %v", method, len(got), err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if method != None {
			f, _, err := Spool(t.Context(), bytes.NewReader(whole[:len(whole)-20]), dir)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, truncated: got %v", method, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		plain, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if is, err := IsPlain(plain); err != nil || is != (method == None) {
			t.Errorf("%s: plain: got %t, %v", method, is, err)
		}
		if err := errors.Join(plain.Close(), os.Remove(name)); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", method, left, err)
		}
	}
}

func TestSpoolEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, _, err := Spool(ctx, strings.NewReader("text"), t.TempDir())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestIsPlainRejectsPipes(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if is, err := IsPlain(r); is || err != nil {
		t.Errorf("got %t, %v", is, err)
	}
}
