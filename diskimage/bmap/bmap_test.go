// SPDX-License-Identifier: Apache-2.0

package bmap_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/bmap"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
)

// write writes the map of an image and returns its name and its text.
func write(t *testing.T, image *os.File, used []diskimage.Extent) (name, text string) {
	t.Helper()
	var b bytes.Buffer
	if err := bmap.Write(t.Context(), &b, image, used); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "disk"+bmap.Suffix)
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name, b.String()
}

func TestBmaptoolCopiesTheImage(t *testing.T) {
	t.Parallel()
	for _, c := range append(rawimagetest.Cases(), rawimagetest.Random(7)) {
		if c.Size == 0 {
			continue // bmaptool has no empty images
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			image := c.Make(t)
			name, _ := write(t, image, nil)
			copied := filepath.Join(t.TempDir(), "copy.img")
			diskimagetest.Run(t, "bmaptool", "--quiet", "copy", "--bmap", name, image.Name(), copied)
			if err := os.Truncate(copied, c.Size); err != nil { // bmaptool does not write a hole at the end
				t.Fatal(err)
			}
			diskimagetest.Run(t, "cmp", image.Name(), copied)
		})
	}
}

func TestZerosThatMatterAreInTheMap(t *testing.T) {
	t.Parallel()
	image := rawimagetest.Case{Name: "hole", Size: 1 << 20,
		Pieces: []rawimagetest.Piece{{Offset: 40 << 10, Length: 10, Content: rawimagetest.Text}}}.Make(t)
	used := []diskimage.Extent{{Offset: 4095, Length: 2}, {Offset: 44 << 10, Length: 4096},
		{Offset: 600_000, Length: 100_000}, {Offset: 1<<20 - 1, Length: 1}}
	_, text := write(t, image, used)
	for _, want := range []string{"> 0-1 <", "> 10-11 <", "> 146-170 <", "> 255 <", "<MappedBlocksCount> 30 <",
		"<BlocksCount> 256 <"} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %q in it", text, want)
		}
	}
}

// The image is flashed to a disk with other content; its file systems must have no errors there.
func TestFlashedImageHasNoErrorsOnAUsedDisk(t *testing.T) {
	t.Parallel()
	image, layout := assemble(t)
	file, err := os.CreateTemp(t.TempDir(), "*.img")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := image.Write(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	name, _ := write(t, file, image.Used())
	used := filepath.Join(t.TempDir(), "used.img")
	if err := os.WriteFile(used, bytes.Repeat([]byte("stale"), int(layout.Size)/5+1)[:layout.Size], 0o600); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "bmaptool", "--quiet", "copy", "--bmap", name, file.Name(), used)
	for _, p := range layout.Partitions {
		if p.Role == diskimage.RoleSwap {
			continue
		}
		diskimagetest.Fsck(t, used, int64(p.Start), int64(p.Size))
		extents, err := image.Volumes[p.Number].Extents("zeros")
		if err != nil || len(extents) == 0 {
			t.Fatal(extents, err)
		}
		for _, e := range extents {
			at := int64(p.Start) + e.Offset
			if got, want := readRange(t, used, at, e.Length),
				readRange(t, file.Name(), at, e.Length); !bytes.Equal(got, want) {
				t.Errorf("%s: the content of a file at offset %d is not what was written", p, at)
			}
		}
	}
	if got, want := diskimagetest.Run(t, "sfdisk", "--dump", used),
		diskimagetest.Run(t, "sfdisk", "--dump", file.Name()); strings.ReplaceAll(got, used, file.Name()) != want {
		t.Errorf("sfdisk --dump: got\n%s\nwant\n%s", got, want)
	}
}

func readRange(t *testing.T, name string, offset, length int64) []byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := make([]byte, length)
	if _, err := file.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMapEndsWithTheImage(t *testing.T) {
	t.Parallel()
	image := rawimagetest.Case{Name: "odd", Size: 10_000,
		Pieces: []rawimagetest.Piece{{Offset: 9_999, Length: 1, Content: rawimagetest.Noise}}}.Make(t)
	_, text := write(t, image, nil)
	for _, want := range []string{"<ImageSize> 10000 <", "<BlocksCount> 3 <", "<MappedBlocksCount> 1 <", "> 2 <"} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %q in it", text, want)
		}
	}
}

func TestWriteEndsWhenTheContextDoes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bmap.Write(ctx, new(bytes.Buffer), rawimagetest.Random(1).Make(t), nil); !errors.Is(err,
		context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
