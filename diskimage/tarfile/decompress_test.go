// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestDecompressUndoesCompress(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("root file system ", 100_000)
	for _, name := range []string{"x.tar", "x.tar.gz", "x.tar.xz", "x.tar.zst", "x.tar.bz2"} {
		var packed bytes.Buffer
		w, err := Compress(&packed, name, 2)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := Decompress(&packed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text || r.Close() != nil {
			t.Errorf("%s: %d bytes, want %d (%v)", name, len(got), len(text), err)
		}
	}
	if _, err := Decompress(strings.NewReader("\x1f\x8bshort")); err == nil {
		t.Error("a broken header was accepted")
	}
	if r, err := Decompress(strings.NewReader("")); err != nil {
		t.Errorf("nothing: %v", err)
	} else if data, _ := io.ReadAll(r); len(data) > 0 {
		t.Errorf("nothing became %q", data)
	}
}
