// SPDX-License-Identifier: Apache-2.0

package blocks

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The test has no server, but every file system supports the system call.
func TestRangesAreCopiedByTheFileSystem(t *testing.T) {
	t.Parallel()
	files := [2]*os.File{}
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	for i, content := range [][]byte{data, nil} {
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		files[i] = f
	}
	r := fileRange{src: int(files[0].Fd()), from: 8192, dst: int(files[1].Fd()), to: 1 << 20, length: 2 << 20}
	if err := copyRange(r); err != nil {
		t.Fatal(err)
	}
	want := append(make([]byte, r.to), data[r.from:r.from+r.length]...)
	if got, err := os.ReadFile(files[1].Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy has %d bytes, want %d: %v", len(got), len(want), err)
	}
	if r.length = 3 << 20; copyRange(r) == nil {
		t.Error("a range beyond the end was copied")
	}
}
