// SPDX-License-Identifier: Apache-2.0

package rawimage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
)

func open(t *testing.T, file *os.File) *rawimage.Image {
	t.Helper()
	image, err := rawimage.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Each cluster that is not zero is emitted once, in order, as it is in the file.
func TestScanEmitsAllDataInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		raw := rawimagetest.Random(seed).Make(t)
		want, err := io.ReadAll(io.NewSectionReader(raw, 0, 1<<40))
		if err != nil {
			t.Fatal(err)
		}
		for _, clusterSize := range []int{512, 64 << 10, 4 << 20} {
			for _, workers := range []int{0, 1, 7} {
				padded := append(bytes.Clone(want), make([]byte, -len(want)&(clusterSize-1))...)
				got := make([]byte, len(padded))
				next := int64(0)
				opts := rawimage.ScanOptions{ClusterSize: clusterSize, Workers: workers}
				err := open(t, raw).Scan(t.Context(), opts, func(run rawimage.Run) error {
					if run.Offset < next || run.Offset%int64(clusterSize) != 0 || len(run.Data)%clusterSize != 0 ||
						len(run.Encoded) != 0 {
						t.Errorf("run of %d bytes at %d after %d", len(run.Data), run.Offset, next)
					}
					next = run.Offset + int64(copy(got[run.Offset:], run.Data))
					for data := run.Data; len(data) > 0; data = data[clusterSize:] {
						if rawimage.IsZero(data[:clusterSize]) {
							t.Error("a cluster of zeros")
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, padded) {
					t.Errorf("seed %d, clusters of %d, %d workers: data differs", seed, clusterSize, workers)
				}
			}
		}
	}
}

func TestScanEncodesEachCluster(t *testing.T) {
	t.Parallel()
	const clusterSize = 4 << 10
	raw := rawimagetest.Random(2).Make(t)
	opts := rawimage.ScanOptions{ClusterSize: clusterSize, NewEncoder: func() (rawimage.Encoder, error) {
		return func(dst, cluster []byte) ([]byte, error) { return append(dst, cluster[100:300]...), nil }, nil
	}}
	err := open(t, raw).Scan(t.Context(), opts, func(run rawimage.Run) error {
		if len(run.Encoded) != len(run.Data)/clusterSize {
			t.Fatalf("%d encoded for %d bytes", len(run.Encoded), len(run.Data))
		}
		for i, encoded := range run.Encoded {
			if !bytes.Equal(encoded, run.Data[i*clusterSize+100:i*clusterSize+300]) {
				t.Errorf("cluster %d of the run at %d is encoded wrongly", i, run.Offset)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestScanReturnsTheFirstError(t *testing.T) {
	t.Parallel()
	want := errors.New("full")
	fail := func(rawimage.Run) error { return want }
	succeed := func(rawimage.Run) error { return nil }
	broken := func(dst, cluster []byte) ([]byte, error) { return nil, want }
	for _, test := range []struct {
		name       string
		newEncoder func() (rawimage.Encoder, error)
		emit       func(rawimage.Run) error
	}{
		{"emit", nil, fail},
		{"encoder", func() (rawimage.Encoder, error) { return broken, nil }, succeed},
		{"new encoder", func() (rawimage.Encoder, error) { return nil, want }, succeed},
	} {
		raw := rawimagetest.Case{Size: 30 << 20,
			Pieces: []rawimagetest.Piece{{Length: 30 << 20, Content: rawimagetest.Text}}}.Make(t)
		opts := rawimage.ScanOptions{ClusterSize: 64 << 10, Workers: 3, NewEncoder: test.newEncoder}
		if err := open(t, raw).Scan(t.Context(), opts, test.emit); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", test.name, err, want)
		}
	}
}

func TestScanReportsThatTheFileCannotBeRead(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Random(1).Make(t)
	image := open(t, raw)
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	err := image.Scan(t.Context(), rawimage.ScanOptions{ClusterSize: 512}, func(rawimage.Run) error { return nil })
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
}

func TestScanStopsWhenTheContextIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	raw := rawimagetest.Case{Size: 200 << 20,
		Pieces: []rawimagetest.Piece{{Length: 200 << 20, Content: rawimagetest.Repeat}}}.Make(t)
	err := open(t, raw).Scan(ctx, rawimage.ScanOptions{ClusterSize: 64 << 10}, func(rawimage.Run) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestIDDistinguishesDisks(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	cases := []rawimagetest.Case{
		{Size: 0}, {Size: 512}, {Size: 1 << 20},
		{Size: 1 << 20, Pieces: []rawimagetest.Piece{{Offset: 440, Length: 4, Content: rawimagetest.Text}}},
		{Size: 1 << 20, Pieces: []rawimagetest.Piece{{Offset: 568, Length: 16, Content: rawimagetest.Text}}},
	}
	for _, c := range cases {
		first, err := open(t, c.Make(t)).ID()
		if err != nil {
			t.Fatal(err)
		}
		second, err := open(t, c.MakeStored(t)).ID()
		if err != nil {
			t.Fatal(err)
		}
		if first != second {
			t.Errorf("%+v: %s and %s", c, first, second)
		}
		seen[first.String()] = true
	}
	if len(seen) != len(cases) {
		t.Errorf("%d IDs for %d disks", len(seen), len(cases))
	}
}

func TestIsZeroSeesEveryByte(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 1, 511, 4096, 4097, 12288} {
		b := make([]byte, length)
		if !rawimage.IsZero(b) {
			t.Errorf("%d zeros are not", length)
		}
		for i := range b {
			b[i] = 1
			if rawimage.IsZero(b) {
				t.Fatalf("byte %d of %d is not seen", i, length)
			}
			b[i] = 0
		}
	}
}

// Blocks are shared where both offsets are aligned, else copied. Either way the bytes are the same.
func TestCopierCopiesAndLeavesHoles(t *testing.T) {
	t.Parallel()
	c := rawimagetest.Case{Size: 6 << 20, Pieces: []rawimagetest.Piece{
		{Offset: 0, Length: 1 << 20, Content: rawimagetest.Noise},
		{Offset: 4<<20 + 5, Length: 1 << 20, Content: rawimagetest.Noise},
	}}
	raw := c.Make(t)
	data := make([]byte, c.Size)
	if _, err := raw.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	for _, to := range []int64{0, 64 << 10, 1} {
		dst := rawimagetest.Create(t)
		copier, err := rawimage.NewCopier(open(t, raw), dst)
		if err != nil {
			t.Fatal(err)
		}
		if err := copier.Copy(data, 0, to); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, c.Size)
		if n, err := dst.ReadAt(got, to); err != io.EOF {
			t.Errorf("%d bytes were written (%v), want no zeros at the end", n, err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("at %d: data differs", to)
		}
		if hole, err := dst.Seek(to, unix.SEEK_HOLE); err != nil || hole < 1<<20 || hole > 2<<20 {
			t.Errorf("at %d: first hole at %d, %v", to, hole, err)
		}
	}
}
