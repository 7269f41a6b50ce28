// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// This needs mkfs.f2fs of f2fs-tools 1.15; later versions reserve less.
func TestAreasAreThoseOfMkfs(t *testing.T) {
	t.Parallel()
	for _, size := range []diskimage.Size{
		64 * diskimage.MiB, 100*diskimage.MiB + 4096, 299 * diskimage.MiB, 511 * diskimage.MiB,
		530 * diskimage.MiB, 2 * diskimage.GiB, 7*diskimage.GiB + 12345*4096, 100 * diskimage.GiB, diskimage.TiB,
		5 * diskimage.TiB, 15 * diskimage.TiB,
	} {
		image := diskimagetest.SparseFile(t, int64(size))
		diskimagetest.Run(t, "mkfs.f2fs", "-q", "-f", "-t", "0", image)
		file, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		want, err := newReader(file)
		if err != nil {
			t.Fatalf("%s: %v", size, err)
		}
		v, err := Formatter{}.Plan(size, filesystem(), fstest.Tree{fstest.Dir(".")})
		if err != nil {
			t.Fatalf("%s: %v", size, err)
		}
		got := v.(*volume).superBlock()
		got.UUID, got.VolumeName, got.MinorVersion = want.sb.UUID, want.sb.VolumeName, want.sb.MinorVersion
		got.ExtensionCount, got.ExtensionList, got.HotExtensionCount = want.sb.ExtensionCount, want.sb.ExtensionList,
			want.sb.HotExtensionCount
		got.Version, got.InitVersion = want.sb.Version, want.sb.InitVersion
		if got != want.sb {
			t.Errorf("%s: superblock\n%+v, want\n%+v", size, got, want.sb)
		}
		var cp disk.Checkpoint
		block := make([]byte, disk.BlockSize)
		v.(*volume).putCheckpoint(block, 1)
		disk.Get(block, &cp)
		if cp.UserBlockCount != want.cp.UserBlockCount || cp.ReservedSegments != want.cp.ReservedSegments ||
			cp.OverprovSegments != want.cp.OverprovSegments || cp.FreeSegments != want.cp.FreeSegments ||
			cp.SITBitmapSize != want.cp.SITBitmapSize || cp.NATBitmapSize != want.cp.NATBitmapSize {
			t.Errorf("%s: checkpoint\n%+v, want\n%+v", size, cp, want.cp)
		}
	}
}

func TestSmallestSizeIsThatOfMkfs(t *testing.T) {
	t.Parallel()
	for size := 20 * diskimage.MiB; size < 60*diskimage.MiB; size += diskimage.MiB {
		image := diskimagetest.SparseFile(t, int64(size))
		program := diskimagetest.Tool(t, "mkfs.f2fs")
		want := exec.CommandContext(t.Context(), program, "-q", "-f", "-t", "0", image).Run() == nil
		_, err := newGeometry(parameters{}, size)
		var noSpace *diskimage.NoSpaceError
		if err != nil && !errors.As(err, &noSpace) {
			t.Fatal(err)
		}
		if got := err == nil; got != want {
			t.Errorf("%s is enough: got %t (%v), want %t", size, got, err, want)
		}
	}
}
