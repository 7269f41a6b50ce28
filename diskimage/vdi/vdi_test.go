// SPDX-License-Identifier: Apache-2.0

package vdi_test

import (
	"context"
	"encoding/hex"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vdi"
)

// with returns a converter with options.
func with(opts vdi.Options) rawimagetest.Convert {
	return func(ctx context.Context, dst, src *os.File) error { return vdi.Convert(ctx, dst, src, opts) }
}

func TestConvertKeepsSizeAndContent(t *testing.T) {
	t.Parallel()
	rawimagetest.All(t, "vdi", 0, with(vdi.Options{}))
}

func TestConvertReachesTheEndOfLargeDisk(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Large(300<<30 + 512).Make(t)
	rawimagetest.JudgeLarge(t, "vdi", rawimagetest.Output(t, raw, with(vdi.Options{})), raw)
}

func FuzzConvert(f *testing.F) { rawimagetest.Fuzz(f, "vdi", with(vdi.Options{})) }

func TestConvertMakesTheSameFileWithAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	rawimagetest.Same(t, with(vdi.Options{Workers: 1}), with(vdi.Options{Workers: 2}), with(vdi.Options{Workers: 5}))
}

func TestImageCanBeWrittenTo(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Case{Size: 9 << 20, Pieces: []rawimagetest.Piece{{Offset: 3 << 20, Length: 4096,
		Content: rawimagetest.Text}}}.Make(t)
	image := rawimagetest.Output(t, raw, with(vdi.Options{}))
	diskimagetest.Run(t, "qemu-io", "-f", "vdi", "-c", "write -P 7 0 300k", "-c", "write -P 8 5M 2M", image.Name())
	diskimagetest.Run(t, "qemu-img", "check", "-f", "vdi", image.Name())
}

func TestHeaderHoldsTheID(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")
	image := rawimagetest.Output(t, rawimagetest.Random(1).Make(t), with(vdi.Options{ID: id}))
	got := make([]byte, 16)
	if _, err := image.ReadAt(got, 392); err != nil {
		t.Fatal(err)
	}
	if want := "33221100554477668899aabbccddeeff"; hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}
