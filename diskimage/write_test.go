// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// memoryFile is a RawFile in memory with a fixed length.
type memoryFile []byte

func (m memoryFile) ReadAt(b []byte, off int64) (int, error)  { return copy(b, m[off:]), nil }
func (m memoryFile) WriteAt(b []byte, off int64) (int, error) { return copy(m[off:], b), nil }

func (m memoryFile) Truncate(size int64) error {
	if size != int64(len(m)) {
		return errors.New("the length is fixed")
	}
	return nil
}

// fakeVolume writes a string at an offset.
type fakeVolume struct {
	text   string
	offset int64
	after  func()
}

func (v fakeVolume) Write(_ context.Context, dst io.WriterAt) error {
	if v.after != nil {
		defer v.after()
	}
	_, err := dst.WriteAt([]byte(v.text), v.offset)
	return err
}

func (fakeVolume) Extents(string) ([]Extent, error) { return nil, nil }

func twoPartitions(t *testing.T, table TableKind) Layout {
	return layout(t, Request{Size: 10 * MiB, Table: table, Partitions: []PartitionRequest{
		{Role: RoleESP, Size: 2 * MiB}, {Role: RoleRoot},
	}})
}

func TestImageHasEverythingInItsPlace(t *testing.T) {
	t.Parallel()
	for _, table := range []TableKind{MSDOS, GPT} {
		l := twoPartitions(t, table)
		w := make(memoryFile, l.Size)
		image := Image{Layout: l, Volumes: map[int]Volume{
			1: fakeVolume{text: "esp", offset: int64(2*MiB) - 3}, 2: fakeVolume{text: "root"},
		}, Patches: []Patch{{0, []byte("code"), "boot code"}, {510, []byte("\x55\xaa"), "boot signature"},
			{int64(3*MiB) + 1, []byte("!"), "note"}}}
		if err := image.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		for offset, want := range map[Size]string{0: "code", 510: "\x55\xaa", 3*MiB - 3: "espr!ot"} {
			if got := string(w[offset : int(offset)+len(want)]); got != want {
				t.Errorf("%s: offset %d: got %q, want %q", table, offset, got, want)
			}
		}
		if err := WriteTable(w, l); err != nil {
			t.Error(err)
		}
	}
}

func TestImageRejectsWritesOutsideThePartition(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, GPT)
	for _, offset := range []int64{-1, int64(2*MiB) - 1, int64(2 * MiB), 1 << 62} {
		w := make(memoryFile, l.Size)
		err := Image{Layout: l, Volumes: map[int]Volume{1: fakeVolume{text: "xx", offset: offset}}}.Write(
			t.Context(), w)
		if err == nil || !strings.Contains(err.Error(), "partition 1 (esp)") {
			t.Errorf("offset %d: got %v, want an error that names the partition", offset, err)
		}
		if bytes.Contains(w, []byte("x")) {
			t.Errorf("offset %d: something was written", offset)
		}
	}
}

func TestImageRejectsPatchesThatOverlap(t *testing.T) {
	t.Parallel()
	three := []byte("abc")
	for name, c := range map[string]struct {
		table   TableKind
		patches []Patch
		want    string
	}{
		"table": {MSDOS, []Patch{{444, three, "MBR code"}},
			"MBR code (bytes 444 to 446) would overwrite the partition table"},
		"whole sector": {MSDOS, []Patch{{0, make([]byte, 512), "boot.img"}},
			"boot.img (bytes 0 to 511) would overwrite"},
		"last of table": {MSDOS, []Patch{{509, three, "x"}}, "would overwrite"},
		"GPT header":    {GPT, []Patch{{510, three, "x"}}, "(bytes 512 to 17407)"},
		"GPT entries":   {GPT, []Patch{{8192, three, "u-boot"}}, "u-boot (bytes 8192 to 8194) would overwrite"},
		"backup GPT":    {GPT, []Patch{{int64(10*MiB) - 3, three, "x"}}, "would overwrite"},
		"end":           {MSDOS, []Patch{{int64(10*MiB) - 2, three, "x"}}, "does not fit"},
		"negative":      {MSDOS, []Patch{{-1, three, "x"}}, "does not fit"},
		"overflow":      {MSDOS, []Patch{{1<<63 - 1, three, "x"}}, "does not fit"},
		"each other": {MSDOS, []Patch{{0, three, "one"}, {2, three, "two"}},
			"one (bytes 0 to 2) and two (bytes 2 to 4) overlap"},
	} {
		l := twoPartitions(t, c.table)
		w := make(memoryFile, l.Size)
		err := Image{Layout: l, Patches: c.patches}.Write(t.Context(), w)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
		if !bytes.Equal(w, make([]byte, l.Size)) {
			t.Errorf("%s: something was written", name)
		}
	}
	l := twoPartitions(t, MSDOS)
	fine := []Patch{{0, make([]byte, 446), "code"}, {446, nil, "nothing"}, {510, three, "after"},
		{8192, three, "u-boot"},
		{513, three, "x"}}
	if err := (Image{Layout: l, Patches: fine}).Write(t.Context(), make(memoryFile, l.Size)); err != nil {
		t.Errorf("patches that overlap nothing: %v", err)
	}
}

func TestImageRejectsVolumesWithoutPartition(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, MSDOS)
	err := Image{Layout: l, Volumes: map[int]Volume{3: fakeVolume{}}}.Write(t.Context(), make(memoryFile, l.Size))
	if err == nil || !strings.Contains(err.Error(), "partition 3") {
		t.Errorf("got %v", err)
	}
}

func TestImageStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, MSDOS)
	w := make(memoryFile, l.Size)
	ctx, cancel := context.WithCancel(t.Context())
	err := Image{Layout: l, Volumes: map[int]Volume{1: fakeVolume{text: "one", after: cancel},
		2: fakeVolume{text: "two"}}}.Write(ctx, w)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if !bytes.Contains(w, []byte("one")) || bytes.Contains(w, []byte("two")) {
		t.Error("want the first partition written and the second not")
	}
}

func TestNoSpaceErrorHasNumbers(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]NoSpaceError{
		"not enough blocks of 4096 bytes: 1000 needed, 700 available: the file system must grow by at least 2 MiB": {"blocks",
			1000, 700, 4096},
		"not enough inodes: 10 needed, 7 available": {"inodes", 10, 7, 0},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
