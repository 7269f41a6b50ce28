// SPDX-License-Identifier: Apache-2.0

package vhd_test

import (
	"context"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vhd"
)

// with returns a converter with options.
func with(opts vhd.Options) rawimagetest.Convert {
	return func(ctx context.Context, dst, src *os.File) error { return vhd.Convert(ctx, dst, src, opts) }
}

// variants are options that result in different structures.
var variants = map[string]vhd.Options{"dynamic": {}, "fixed": {Fixed: true}}

func TestConvertKeepsSizeAndContent(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			minSize := int64(0)
			if opts.Fixed {
				minSize = 1
			}
			rawimagetest.All(t, "vpc", minSize, with(opts))
		})
	}
}

func TestConvertReachesTheEndOfTheLargestDisk(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Large(vhd.MaxSize).Make(t)
	for _, opts := range variants {
		rawimagetest.JudgeLarge(t, "vpc", rawimagetest.Output(t, raw, with(opts)), raw)
	}
}

func TestConvertRejectsLargerDisks(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Case{Size: vhd.MaxSize + 1}.Make(t)
	err := vhd.Convert(t.Context(), rawimagetest.Create(t), raw, vhd.Options{})
	if err == nil || !strings.Contains(err.Error(), "the maximum is 2190433320960") {
		t.Errorf("got %v, want an error with the maximum size", err)
	}
}

func TestConvertRejectsEmptyFixedDisks(t *testing.T) {
	t.Parallel()
	err := vhd.Convert(t.Context(), rawimagetest.Create(t), rawimagetest.Create(t), vhd.Options{Fixed: true})
	if err == nil || !strings.Contains(err.Error(), "0 bytes") {
		t.Errorf("got %v, want an error about 0 bytes", err)
	}
}

func FuzzConvertDynamic(f *testing.F) { rawimagetest.Fuzz(f, "vpc", with(vhd.Options{})) }

func FuzzConvertFixed(f *testing.F) { rawimagetest.Fuzz(f, "vpc", with(vhd.Options{Fixed: true})) }

func TestConvertMakesTheSameFileWithAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	for _, opts := range variants {
		one, two, five := opts, opts, opts
		one.Workers, two.Workers, five.Workers = 1, 2, 5
		rawimagetest.Same(t, with(one), with(two), with(five))
	}
}

func TestDynamicImageCanBeWrittenTo(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Case{Size: 9 << 20, Pieces: []rawimagetest.Piece{{Offset: 3 << 20, Length: 4096,
		Content: rawimagetest.Text}}}.Make(t)
	image := rawimagetest.Output(t, raw, with(vhd.Options{}))
	for _, file := range []*os.File{raw, image} {
		format := map[*os.File]string{raw: "raw", image: "vpc"}[file]
		diskimagetest.Run(t, "qemu-io", "-f", format, "-c", "write -P 7 0 300k", "-c", "write -P 8 5M 2M", file.Name())
	}
	rawimagetest.Judge(t, "vpc", image, raw)
}

// The geometry of QEMU's files comes from the same table of the specification, but QEMU rounds
// sizes up.
func TestFooterHasGeometryAndTime(t *testing.T) {
	t.Parallel()
	const footerSize = 512
	for _, test := range []struct {
		size           int64
		cylinders      uint16
		heads, sectors uint8
	}{
		{512, 0, 4, 17},
		{20 << 20, 602, 4, 17},
		{40 << 20, 963, 5, 17},
		{100 << 20, 1003, 12, 17},
		{200 << 20, 825, 16, 31},
		{2 << 30, 4161, 16, 63},
		{40 << 30, 20560, 16, 255},
		{1 << 40, 65535, 16, 255},
	} {
		image := rawimagetest.Output(t, rawimagetest.Case{Size: test.size}.Make(t),
			with(vhd.Options{Fixed: true, Time: time.Date(2000, 1, 1, 0, 1, 5, 0, time.UTC)}))
		footer := make([]byte, footerSize)
		if _, err := image.ReadAt(footer, test.size); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(footer[24:]); got != 65 {
			t.Errorf("time: got %d s, want 65", got)
		}
		if c, h, s := binary.BigEndian.Uint16(footer[56:]), footer[58], footer[59]; c != test.cylinders ||
			h != test.heads ||
			s != test.sectors {
			t.Errorf("geometry of %d bytes: got %d/%d/%d, want %d/%d/%d", test.size, c, h, s, test.cylinders,
				test.heads,
				test.sectors)
		}
	}
}
