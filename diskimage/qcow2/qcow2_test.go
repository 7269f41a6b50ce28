// SPDX-License-Identifier: Apache-2.0

package qcow2_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/qcow2"
)

// with returns a converter with options.
func with(opts qcow2.Options) rawimagetest.Convert {
	return func(ctx context.Context, dst, src *os.File) error { return qcow2.Convert(ctx, dst, src, opts) }
}

// variants are options that result in different structures.
var variants = map[string]qcow2.Options{
	"plain":        {},
	"zlib":         {Compression: qcow2.Zlib},
	"zstd":         {Compression: qcow2.Zstd},
	"plain, 4 KiB": {ClusterSize: 4 << 10},
	"zlib, 4 KiB":  {ClusterSize: 4 << 10, Compression: qcow2.Zlib},
	"zstd, 2 MiB":  {ClusterSize: 2 << 20, Compression: qcow2.Zstd},
}

func TestConvertKeepsSizeAndContent(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if opts.ClusterSize == 0 {
				rawimagetest.All(t, "qcow2", 0, with(opts))
				return
			}
			for seed := range uint64(5) {
				raw := rawimagetest.Random(100 + seed).Make(t)
				rawimagetest.Judge(t, "qcow2", rawimagetest.Output(t, raw, with(opts)), raw)
			}
		})
	}
}

func TestConvertReachesTheEndOfLargeDisk(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Large(7<<40 + 512).Make(t)
	rawimagetest.JudgeLarge(t, "qcow2", rawimagetest.Output(t, raw, with(qcow2.Options{})), raw)
}

// The smallest clusters need many refcount blocks, and a refcount table of more than one cluster.
func TestConvertCountsReferencesOfItsOwnTables(t *testing.T) {
	t.Parallel()
	c := rawimagetest.Case{Size: 24 << 20, Pieces: []rawimagetest.Piece{{Offset: 0, Length: 20 << 20,
		Content: rawimagetest.Noise}}}
	raw := c.Make(t)
	for _, compression := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
		image := rawimagetest.Output(t, raw, with(qcow2.Options{ClusterSize: 512, Compression: compression}))
		rawimagetest.Judge(t, "qcow2", image, raw)
	}
}

func FuzzConvertPlain(f *testing.F) { rawimagetest.Fuzz(f, "qcow2", with(qcow2.Options{})) }

func FuzzConvertZlib(f *testing.F) {
	rawimagetest.Fuzz(f, "qcow2", with(qcow2.Options{Compression: qcow2.Zlib}))
}

func FuzzConvertZstd(f *testing.F) {
	rawimagetest.Fuzz(f, "qcow2", with(qcow2.Options{Compression: qcow2.Zstd, ClusterSize: 32 << 10}))
}

func TestConvertMakesTheSameFileWithAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two, five := opts, opts, opts
			one.Workers, two.Workers, five.Workers = 1, 2, 5
			rawimagetest.Same(t, with(one), with(two), with(five))
		})
	}
}

func TestImageCanBeWrittenTo(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Random(3).Make(t)
	for _, compression := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
		image := rawimagetest.Output(t, raw, with(qcow2.Options{Compression: compression}))
		diskimagetest.Run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 300k", "-c", "discard 512k 128k",
			image.Name())
		diskimagetest.Run(t, "qemu-img", "resize", "-f", "qcow2", image.Name(), "1G")
		diskimagetest.Run(t, "qemu-img", "check", "-f", "qcow2", image.Name())
	}
}

func TestConvertCompresses(t *testing.T) {
	t.Parallel()
	c := rawimagetest.Case{Size: 8 << 20, Pieces: []rawimagetest.Piece{{Offset: 0, Length: 8 << 20,
		Content: rawimagetest.Text}}}
	raw := c.Make(t)
	for _, compression := range []qcow2.Compression{qcow2.Zlib, qcow2.Zstd} {
		info, err := rawimagetest.Output(t, raw, with(qcow2.Options{Compression: compression})).Stat()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 4<<20 {
			t.Errorf("%s: 8 MiB of text take %d bytes", compression, info.Size())
		}
	}
}

func TestConvertRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		opts qcow2.Options
		want string
	}{
		{qcow2.Options{ClusterSize: 256}, "cluster size 256"},
		{qcow2.Options{ClusterSize: 65537}, "cluster size 65537"},
		{qcow2.Options{ClusterSize: 4 << 20}, "cluster size 4194304"},
		{qcow2.Options{ClusterSize: -1}, "cluster size -1"},
		{qcow2.Options{Compression: "lzma"}, `"lzma"`},
	} {
		err := qcow2.Convert(t.Context(), rawimagetest.Create(t), rawimagetest.Create(t), test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %q", test.opts, err, test.want)
		}
	}
}

func TestConvertRejectsDisksThatAreTooLarge(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Case{Size: 128<<30 + 512}.Make(t)
	err := qcow2.Convert(t.Context(), rawimagetest.Create(t), raw, qcow2.Options{ClusterSize: 512})
	if err == nil || !strings.Contains(err.Error(), "the maximum is 137438953472") {
		t.Errorf("got %v, want an error with the maximum size", err)
	}
}

func TestConvertEndsWhenTheContextDoes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dst := rawimagetest.Create(t)
	err := qcow2.Convert(ctx, dst, rawimagetest.Random(1).Make(t), qcow2.Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if info, err := dst.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("something was written: %v, %v", info.Size(), err)
	}
}
