// SPDX-License-Identifier: Apache-2.0

package format_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
)

// checkDisk compares the disk in an image with a raw one, whose last sector may be incomplete.
func checkDisk(t *testing.T, image, raw *os.File, wantFormat string) {
	t.Helper()
	if name, err := format.Detect(image); err != nil || name != wantFormat {
		t.Errorf("got format %q (%v), want %q", name, err, wantFormat)
	}
	disk, err := format.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(raw.Name())
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, make([]byte, rawimage.RoundUp(int64(len(want)), rawimage.SectorSize)-int64(len(want)))...)
	got, err := io.ReadAll(io.NewSectionReader(disk, 0, disk.Size()))
	if err != nil {
		t.Fatal(err)
	}
	// QEMU rounds sizes up to cylinders or clusters for some formats.
	if len(got) < len(want) || string(got[:len(want)]) != string(want) ||
		strings.Trim(string(got[len(want):]), "\x00") != "" {
		t.Errorf("%d bytes differ from the raw image of %d bytes", len(got), len(want))
	}
}

// Only raw images could be read (issue 15, 17).
func TestOpenReadsWhatConvertWrites(t *testing.T) {
	t.Parallel()
	names := []string{"one byte", "odd length", "hole", "repeat", "3146240 bytes", "alternating"}
	for _, c := range append(rawimagetest.Cases(), rawimagetest.Random(3)) {
		if !slices.Contains(names, c.Name) && c.Name != "seed 3" {
			continue
		}
		raw := c.Make(t)
		each(t, func(t *testing.T, name string, convert rawimagetest.Convert) {
			if name == format.Raw {
				return
			}
			checkDisk(t, rawimagetest.Output(t, raw, convert), raw, strings.TrimSuffix(name, "-fixed"))
		})
	}
}

// Images of QEMU have other versions and variants.
func TestOpenReadsImagesOfQEMU(t *testing.T) {
	t.Parallel()
	qemu := diskimagetest.Tool(t, "qemu-img")
	raw := rawimagetest.Random(11).Make(t)
	for args, name := range map[string]string{
		"-O qcow2":                                "qcow2",
		"-O qcow2 -o compat=0.10":                 "qcow2",
		"-O qcow2 -o cluster_size=2M":             "qcow2",
		"-O qcow2 -c -o cluster_size=512":         "qcow2",
		"-O qcow2 -c -o compression_type=zstd":    "qcow2",
		"-O qcow2 -o preallocation=falloc":        "qcow2",
		"-O vmdk":                                 "vmdk",
		"-O vmdk -o subformat=streamOptimized":    "vmdk",
		"-O vmdk -o zeroed_grain=on":              "vmdk",
		"-O vdi":                                  "vdi",
		"-O vdi -o static=on":                     "vdi",
		"-O vpc -o force_size=on":                 "vhd",
		"-O vpc -o subformat=fixed,force_size=on": "vhd",
		"-O vhdx": "vhdx",
		"-O vhdx -o block_size=1M,subformat=fixed": "vhdx",
		"-O vhdx -o block_size=16M":                "vhdx",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "image")
			words := append([]string{"convert", "-f", "raw"}, strings.Fields(args)...)
			diskimagetest.Run(t, qemu, append(words, raw.Name(), file)...)
			image, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer image.Close()
			checkDisk(t, image, raw, name)
		})
	}
}

func TestDamagedImagesAreErrorsAndNothingWorse(t *testing.T) {
	t.Parallel()
	piece := rawimagetest.Piece{Length: 2 << 20, Content: rawimagetest.Text}
	c := rawimagetest.Case{Size: 3 << 20, Pieces: []rawimagetest.Piece{piece}}
	raw := c.Make(t)
	each(t, func(t *testing.T, _ string, convert rawimagetest.Convert) {
		file := rawimagetest.Output(t, raw, convert)
		good, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		var used []int
		for at, b := range good {
			if b != 0 {
				used = append(used, at)
			}
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			at := used[random.IntN(min(len(used), 600))] // headers come first
			if _, err := file.WriteAt([]byte{byte(random.Uint32())}, int64(at)); err != nil {
				t.Fatal(err)
			}
			if disk, err := format.Open(file); err == nil {
				_, _ = io.Copy(io.Discard, io.NewSectionReader(disk, 0, min(disk.Size(), 4<<20)))
			}
			if _, err := file.WriteAt(good[at:at+1], int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestOpenNamesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base, overlay := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "overlay.qcow2")
	qemu := diskimagetest.Tool(t, "qemu-img")
	diskimagetest.Run(t, qemu, "create", "-q", "-f", "qcow2", base, "4M")
	diskimagetest.Run(t, qemu, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
	image, err := os.Open(overlay)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := format.Open(image); err == nil || !strings.Contains(err.Error(), "backing file") {
		t.Errorf("got %v", err)
	}
}
