// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
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

// Other programs' files were refused, or their ends were errors (issue 15, 6).
func TestOtherProgramsFilesAreDecompressed(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("root file system ", 100_000)
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const skippableFrame = "\x5f\x2a\x4d\x18\x03\x00\x00\x00abc"
	for command, want := range map[string]string{
		`gzip -c "$0"; head -c 70000 /dev/zero`:                   text,
		`gzip -c "$0"; gzip -c "$0"`:                              text + text,
		`pzstd -q -c "$0"`:                                        text,
		`printf '` + octal(skippableFrame) + `'; zstd -q -c "$0"`: text,
		`cat "$0" | zstd -q -c --long=31`:                         text,
		`xz -c "$0"; head -c 4096 /dev/zero`:                      text,
		`bzip2 -c "$0"; bzip2 -c "$0"`:                            text + text,
	} {
		packed := diskimagetest.Run(t, "sh", "-c", command, name)
		if plain, err := IsPlain(strings.NewReader(packed)); plain || err != nil {
			t.Errorf("%s: is plain: %t (%v)", command, plain, err)
		}
		r, err := Decompress(strings.NewReader(packed))
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want || r.Close() != nil {
			t.Errorf("%s: %d bytes, want %d (%v)", command, len(got), len(want), err)
		}
	}
}

// octal returns text for printf(1).
func octal(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, `\%03o`, c)
	}
	return b.String()
}

func TestGarbageAfterGzipIsAnError(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w, err := Compress(&packed, "x.gz", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, rest := range []string{"x", "\x00\x00x"} {
		r, err := Decompress(strings.NewReader(packed.String() + rest))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "after the end") {
			t.Errorf("%q: got %v", rest, err)
		}
	}
}
