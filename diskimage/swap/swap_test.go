// SPDX-License-Identifier: Apache-2.0

package swap_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/swap"
)

var id = uuid.MustParse("0a1b2c3d-4e5f-4061-8273-8495a6b7c8d9")

// write creates a swap area in a file of the given length.
func write(t *testing.T, size diskimage.Size, label string) string {
	t.Helper()
	volume, err := swap.Formatter{}.Plan(size, diskimage.Filesystem{Type: "swap", UUID: id, Label: label}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volume.Extents("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Extents: got %v, want fs.ErrNotExist", err)
	}
	name := filepath.Join(t.TempDir(), "swap")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	if err := volume.Write(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestHeaderIsThatOfMkswap(t *testing.T) {
	t.Parallel()
	const size = 8*diskimage.MiB + 512
	ours := write(t, size, "fifteen-bytes-x")
	theirs := filepath.Join(t.TempDir(), "mkswap")
	if err := os.WriteFile(theirs, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "mkswap", "-p", "4096", "-U", id.String(), "-L", "fifteen-bytes-x", theirs)
	got, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n% x\nwant\n% x", got[1024:1100], want[1024:1100])
	}
}

func TestSwapIsRecognised(t *testing.T) {
	t.Parallel()
	out := diskimagetest.Run(t, "blkid", "-p", "-o", "export", write(t, 64*diskimage.MiB, "swap0"))
	for _, want := range []string{"TYPE=swap", "UUID=" + id.String(), "LABEL=swap0", "VERSION=1"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("blkid: got\n%s\nwant %s", out, want)
		}
	}
}

func TestSwapRejectsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	_, err := swap.Formatter{}.Plan(10*4096-1, diskimage.Filesystem{}, nil)
	if space := new(diskimage.NoSpaceError); !errors.As(err, &space) {
		t.Errorf("9 pages: got %v, want a NoSpaceError", err)
	}
	_, err = swap.Formatter{}.Plan(diskimage.MiB, diskimage.Filesystem{Label: "sixteen-bytes-xy"}, nil)
	if err == nil || !strings.Contains(err.Error(), `"sixteen-bytes-xy"`) {
		t.Errorf("long label: got %v", err)
	}
}
