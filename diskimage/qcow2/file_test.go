// SPDX-License-Identifier: Apache-2.0

package qcow2_test

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/qcow2"
)

// ranges returns the ranges of a disk that a case writes, and others.
func ranges(c rawimagetest.Case) []qcow2.Range {
	var all []qcow2.Range
	for _, p := range c.Pieces {
		all = append(all, qcow2.Range{Offset: p.Offset, Length: p.Length})
	}
	slices.SortFunc(all, func(a, b qcow2.Range) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

// newFile creates a File for a disk.
func newFile(t *testing.T, size int64, data []qcow2.Range, opts qcow2.Options) (*qcow2.File, *os.File) {
	t.Helper()
	image := rawimagetest.Create(t)
	file, err := qcow2.NewFile(image, size, data, opts)
	if err != nil {
		t.Fatal(err)
	}
	return file, image
}

func TestFileHoldsWrittenData(t *testing.T) {
	t.Parallel()
	cases := append(rawimagetest.Cases(), rawimagetest.Random(21), rawimagetest.Random(22), rawimagetest.Large(3<<40))
	for _, c := range cases {
		if c.Size%512 != 0 {
			continue // a disk consists of whole sectors
		}
		for _, cluster := range []int{0, 4 << 10, 2 << 20} {
			if cluster == 4<<10 && c.Size > 1<<40 {
				continue // more than the largest disk
			}
			file, image := newFile(t, c.Size, ranges(c), qcow2.Options{ClusterSize: cluster})
			if err := c.WriteInto(file); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			if err := file.Finish(); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			if c.Size > 1<<40 {
				rawimagetest.JudgeLarge(t, "qcow2", image, c.Make(t))
			} else {
				rawimagetest.Judge(t, "qcow2", image, c.Make(t))
			}
		}
	}
}

func TestFileDoesNotDependOnTheOrderOfWrites(t *testing.T) {
	t.Parallel()
	const size, unit = 20 << 20, 10_007 // never a cluster boundary
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never returns an error
	clear(content[3<<20 : 5<<20])
	data := []qcow2.Range{{Offset: 0, Length: 3 << 20}, {Offset: 5 << 20, Length: size - 5<<20}}
	var first []byte
	for seed := range uint64(4) {
		file, image := newFile(t, size, data, qcow2.Options{})
		var writes []qcow2.Range
		for _, r := range data {
			for at := r.Offset; at < r.Offset+r.Length; at += unit {
				writes = append(writes, qcow2.Range{Offset: at, Length: min(unit, r.Offset+r.Length-at)})
			}
		}
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(writes),
			func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
		var group errgroup.Group
		group.SetLimit(4)
		for _, w := range writes {
			group.Go(func() error {
				_, err := file.WriteAt(content[w.Offset:w.Offset+w.Length], w.Offset)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := file.Finish(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(image.Name())
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("order %d results in a different file", seed)
		}
	}
}

func TestFileReadsBackWhileItIsWritten(t *testing.T) {
	t.Parallel()
	file, _ := newFile(t, 1<<20, []qcow2.Range{{Offset: 100_000, Length: 100_000}, {Offset: 400_000, Length: 10}},
		qcow2.Options{})
	if _, err := file.WriteAt([]byte("over the edge"), 131_066); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("again"), 131_071); err != nil { // patches overwrite data
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	n, err := file.ReadAt(b, 0)
	if n != len(b) || err != nil {
		t.Fatal(n, err)
	}
	want := make([]byte, 1<<20)
	copy(want[131_066:], "over again"+"dge")
	if !bytes.Equal(b, want) {
		t.Errorf("got %q, want %q", b[131_060:131_090], want[131_060:131_090])
	}
	if n, err := file.ReadAt(b, 1<<20-3); n != 3 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %d, %v", n, err)
	}
}

func TestFileHoldsNoClusterThatWasNotWritten(t *testing.T) {
	t.Parallel()
	file, image := newFile(t, 1<<30, []qcow2.Range{{Offset: 0, Length: 100 << 20}, {Offset: 1 << 29, Length: 1}},
		qcow2.Options{})
	if _, err := file.WriteAt([]byte("data"), 50<<20); err != nil {
		t.Fatal(err)
	}
	if err := file.Finish(); err != nil {
		t.Fatal(err)
	}
	out := diskimagetest.Run(t, "qemu-img", "check", "-f", "qcow2", image.Name())
	if !strings.Contains(out, "No errors") || !strings.Contains(out, "1/16384 =") {
		t.Errorf("qemu-img check:\n%s", out)
	}
}

func TestFileRejectsUnplannedWrites(t *testing.T) {
	t.Parallel()
	file, _ := newFile(t, 1<<20, []qcow2.Range{{Offset: 0, Length: 10}}, qcow2.Options{})
	for name, err := range map[string]error{
		"another length": file.Truncate(1 << 19),
		"after":          second(file.WriteAt([]byte("x"), 64<<10)),
		"partly":         second(file.WriteAt(make([]byte, 70<<10), 0)),
		"negative":       second(file.WriteAt([]byte("x"), -1)),
		"beyond":         second(file.WriteAt([]byte("xx"), 1<<20-1)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "BUG: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := qcow2.NewFile(rawimagetest.Create(t), 1<<20, nil, qcow2.Options{Compression: qcow2.Zstd}); err == nil {
		t.Error("compressed: got no error")
	}
	if _, err := qcow2.NewFile(rawimagetest.Create(t), 1<<20+1, nil, qcow2.Options{}); err == nil {
		t.Error("half a sector: got no error")
	}
	if _, err := qcow2.NewFile(rawimagetest.Create(t), 1<<20, []qcow2.Range{{Offset: 1 << 20, Length: 1}},
		qcow2.Options{}); err == nil {
		t.Error("data beyond the disk: got no error")
	}
	if _, err := qcow2.NewFile(rawimagetest.Random(1).Make(t), 1<<20, nil, qcow2.Options{}); err == nil ||
		!strings.Contains(err.Error(), "not empty") {
		t.Errorf("a file that is not empty: got %v", err)
	}
}

func second(_ int, err error) error { return err }
