// SPDX-License-Identifier: Apache-2.0

package vhdx_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vhdx"
)

// with returns a converter with options.
func with(opts vhdx.Options) rawimagetest.Convert {
	return func(ctx context.Context, dst, src *os.File) error { return vhdx.Convert(ctx, dst, src, opts) }
}

func TestConvertKeepsSizeAndContent(t *testing.T) {
	t.Parallel()
	rawimagetest.All(t, "vhdx", 1, with(vhdx.Options{}))
}

// The table of 300 GiB has entries for bitmaps, and is larger than 1 MiB.
func TestConvertReachesTheEndOfLargeDisk(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Large(300<<30 + 512).Make(t)
	rawimagetest.JudgeLarge(t, "vhdx", rawimagetest.Output(t, raw, with(vhdx.Options{})), raw)
}

func TestConvertRejectsDisksOfInvalidSize(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size int64
		want string
	}{
		{0, "0 bytes"},
		{vhdx.MaxSize + 1, "the maximum is 70368744177664"},
	} {
		raw := rawimagetest.Create(t)
		if err := raw.Truncate(test.size); err != nil {
			t.Logf("cannot create a file of %d bytes: %v", test.size, err) // the maximum on ext4 is 16 TiB
			continue
		}
		err := vhdx.Convert(t.Context(), rawimagetest.Create(t), raw, vhdx.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d bytes: got %v, want %q", test.size, err, test.want)
		}
	}
}

func FuzzConvert(f *testing.F) { rawimagetest.Fuzz(f, "vhdx", with(vhdx.Options{})) }

func TestConvertMakesTheSameFileWithAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	rawimagetest.Same(t, with(vhdx.Options{Workers: 1}), with(vhdx.Options{Workers: 2}), with(vhdx.Options{Workers: 5}))
}

func TestImageCanBeWrittenTo(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Case{Size: 9 << 20, Pieces: []rawimagetest.Piece{
		{Offset: 3 << 20, Length: 4096, Content: rawimagetest.Text},
	}}.Make(t)
	image := rawimagetest.Output(t, raw, with(vhdx.Options{}))
	for _, file := range []*os.File{raw, image} {
		format := map[*os.File]string{raw: "raw", image: "vhdx"}[file]
		diskimagetest.Run(t, "qemu-io", "-f", format, "-c", "write -P 7 0 300k", "-c", "write -P 8 5M 2M", file.Name())
	}
	rawimagetest.Judge(t, "vhdx", image, raw)
}
