// SPDX-License-Identifier: Apache-2.0

package vmdk_test

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vmdk"
)

// with returns a converter with options.
func with(opts vmdk.Options) rawimagetest.Convert {
	return func(ctx context.Context, dst, src *os.File) error { return vmdk.Convert(ctx, dst, src, opts) }
}

func TestConvertKeepsSizeAndContent(t *testing.T) {
	t.Parallel()
	rawimagetest.All(t, "vmdk", 1, with(vmdk.Options{}))
}

func TestConvertReachesTheEndOfLargeDisk(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Large(5<<40 + 512).Make(t)
	rawimagetest.JudgeLarge(t, "vmdk", rawimagetest.Output(t, raw, with(vmdk.Options{})), raw)
}

func FuzzConvert(f *testing.F) { rawimagetest.Fuzz(f, "vmdk", with(vmdk.Options{})) }

func TestConvertMakesTheSameFileWithAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	rawimagetest.Same(t, with(vmdk.Options{Workers: 1}), with(vmdk.Options{Workers: 2}), with(vmdk.Options{Workers: 5}))
}

func TestDescriptorDescribesTheFile(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Case{Size: 1 << 30}.Make(t)
	id := uuid.MustParse("ffffffff-1111-2222-3333-444444444444")
	image := rawimagetest.Output(t, raw, with(vmdk.Options{ID: id}))
	text := diskimagetest.Run(t, "qemu-img", "info", image.Name())
	if !strings.Contains(text, "create type: streamOptimized") {
		t.Errorf("not streamOptimized:\n%s", text)
	}
	begin, err := io.ReadAll(io.NewSectionReader(image, 512, 20*512))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CID=7fffffff\n", // not that of "no parent"
		"RDONLY 2097152 SPARSE ",
		`ddb.geometry.cylinders = "130"`,
		`ddb.longContentID = "ffffffff111122223333444444444444"`,
	} {
		if !strings.Contains(string(begin), want) {
			t.Errorf("%q is not in the descriptor:\n%s", want, begin)
		}
	}
}

func TestConvertRejectsEmptyDisks(t *testing.T) {
	t.Parallel()
	err := vmdk.Convert(t.Context(), io.Discard, rawimagetest.Create(t), vmdk.Options{})
	if err == nil || !strings.Contains(err.Error(), "0 bytes") {
		t.Errorf("got %v, want an error about 0 bytes", err)
	}
}
