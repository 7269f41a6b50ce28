// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

func loader(t *testing.T) Loader {
	t.Helper()
	l, err := Extract(read(t, diskimagetest.File(t, "/usr/bin/extlinux")))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestInstallOnFATEqualsSyslinux compares with syslinux's own installer for FAT, byte for byte: in
// an empty file system, and in one without adjacent free clusters, so that ldlinux.sys has many
// extents.
func TestInstallOnFATEqualsSyslinux(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		pieces int // at least
	}{{"in one piece", 1}, {"in many pieces", 20}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			image, file := filepath.Join(dir, "fat.img"), filepath.Join(dir, "ldlinux.sys")
			const size, cluster = 32 << 20, 2048
			makeFAT(t, image, size, cluster, tt.pieces)
			diskimagetest.Run(t, "syslinux", "--install", image)
			diskimagetest.Run(t, "mcopy", "-i", image, "::/ldlinux.sys", file)
			want, disk := read(t, file), read(t, image)
			extents := clustersOf(t, image, disk, cluster)
			if len(extents) < tt.pieces {
				t.Fatalf("ldlinux.sys is in %d pieces, want at least %d", len(extents), tt.pieces)
			}
			// Without -d, syslinux stores no directory.
			patches, got, err := loader(t).Install(Placement{Sectors: size / sectorSize, File: extents, FAT: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Fatalf("ldlinux.sys has %d bytes, want %d", len(got), len(want))
			}
			for i := 0; i < len(got); i += dwordSize {
				if g, w := got[i:i+dwordSize], want[i:i+dwordSize]; !bytes.Equal(g, w) {
					t.Errorf("ldlinux.sys differs at %#x: got % x, want % x", i, g, w)
				}
			}
			for _, p := range patches {
				if wantSector := disk[p.Offset : p.Offset+int64(len(p.Data))]; !bytes.Equal(p.Data, wantSector) {
					t.Errorf("boot sector from %#x: got % x, want % x", p.Offset, p.Data, wantSector)
				}
			}
		})
	}
}

// makeFAT creates a file system. For more than one piece it writes files of one cluster and deletes
// every second one.
func makeFAT(t *testing.T, image string, size int64, cluster, pieces int) {
	t.Helper()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "mkfs.fat", "-F", "16", "-s", strconv.Itoa(cluster/sectorSize), image)
	if pieces == 1 {
		return
	}
	dir := t.TempDir()
	var all, everySecond []string
	for i := range 4 * pieces {
		name := fmt.Sprintf("%03d", i)
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte{'x'}, cluster), 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, filepath.Join(dir, name))
		if i%2 == 0 {
			everySecond = append(everySecond, "::/"+name)
		}
	}
	diskimagetest.Run(t, "mcopy", append(append([]string{"-i", image}, all...), "::/")...)
	diskimagetest.Run(t, "mdel", append([]string{"-i", image}, everySecond...)...)
}

// clusterRange matches one range in the output of mshowfat: "<2-30>" or "<7>".
var clusterRange = regexp.MustCompile(`<(\d+)(?:-(\d+))?>`)

// clustersOf returns the clusters of ldlinux.sys, according to mtools. The offsets in the boot
// sector are those of a FAT16.
func clustersOf(t *testing.T, image string, disk []byte, cluster int) []diskimage.Extent {
	t.Helper()
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(disk[at:])) }
	reserved, tables, rootEntries, tableSectors := u16(0x0e), int(disk[0x10]), u16(0x11), u16(0x16)
	data := (reserved+tables*tableSectors)*sectorSize + rootEntries*32
	var extents []diskimage.Extent
	for _, m := range clusterRange.FindAllStringSubmatch(diskimagetest.Run(t, "mshowfat", "-i", image,
		"::/ldlinux.sys"),
		-1) {
		first, err := strconv.Atoi(m[1])
		last := first
		if err == nil && m[2] != "" {
			last, err = strconv.Atoi(m[2])
		}
		if err != nil {
			t.Fatal(err)
		}
		// The first cluster has number 2.
		extents = append(extents, diskimage.Extent{Offset: int64(data + (first-2)*cluster),
			Length: int64((last - first + 1) * cluster)})
	}
	return extents
}

func TestInstallCoversAFileInPieces(t *testing.T) {
	t.Parallel()
	l := loader(t)
	total := int64(len(l.File()))
	first := int64(40 * sectorSize)
	_, file, err := l.Install(Placement{
		StartLBA: 2048, Sectors: 1 << 20, Directory: "/",
		File: []diskimage.Extent{{Offset: 1 << 20, Length: first}, {Offset: 8 << 20, Length: total - first + 4096}},
	})
	if err != nil {
		t.Fatal(err)
	}
	area, err := findPatchArea(file)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := area.extended(file)
	if err != nil {
		t.Fatal(err)
	}
	var sectors []uint64
	for i := range ext[extNumSectors] {
		e := file[ext[extSectors]+i*extentSize:]
		n := binary.LittleEndian.Uint16(e[8:])
		if n > maxExtent {
			t.Errorf("extent %d has %d sectors, more than %d", i, n, maxExtent)
		}
		for s := range uint64(n) {
			sectors = append(sectors, binary.LittleEndian.Uint64(e)+s)
		}
	}
	var want []uint64
	for s := range uint64(total)/sectorSize - advCopies {
		if s == 0 {
			continue // it is in the boot sector
		}
		if s < 40 {
			want = append(want, 2048+s)
		} else {
			want = append(want, 16384+s-40)
		}
	}
	if !slices.Equal(sectors, want) {
		t.Errorf("extents cover %d sectors, want %d; first %v", len(sectors), len(want), sectors[:3])
	}
	var sum uint32
	for i := 0; i < len(file)-advCopies*sectorSize; i += dwordSize {
		sum += binary.LittleEndian.Uint32(file[i:])
	}
	if sum != magic {
		t.Errorf("dwords add up to %#x, want %#x", sum, uint32(magic))
	}
}

func TestInstallRejectsInvalidExtents(t *testing.T) {
	t.Parallel()
	l := loader(t)
	size := int64(len(l.File()))
	at := func(extents ...diskimage.Extent) Placement {
		return Placement{Sectors: 4096, File: extents, Directory: "/"}
	}
	tooLong := at(diskimage.Extent{Offset: 4096, Length: size})
	tooLong.Directory = "/" + strings.Repeat("x", 300)
	var pieces []diskimage.Extent
	for i := range size / sectorSize {
		pieces = append(pieces, diskimage.Extent{Offset: 2 * i * sectorSize, Length: sectorSize})
	}
	for _, tt := range []struct {
		name string
		p    Placement
		want string // "" for no error
	}{
		{"right", at(diskimage.Extent{Offset: 4096, Length: size}), ""},
		{"each sector apart", at(pieces...), ""},
		{"hole", at(diskimage.Extent{Offset: 4096, Length: 4096}), "holes"},
		{"inside a sector", at(diskimage.Extent{Offset: 100, Length: size}), "whole sectors"},
		{"part of a sector",
			at(diskimage.Extent{Offset: 4096, Length: 100}, diskimage.Extent{Offset: 8192, Length: size}),
			"whole sectors"},
		{"after the partition", at(diskimage.Extent{Offset: 4096*512 - size + 512, Length: size}), "not inside"},
		{"before the partition", at(diskimage.Extent{Offset: -512, Length: size}), "not inside"},
		{"directory", tooLong, "too long"},
	} {
		_, _, err := l.Install(tt.p)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// TestExtractRejectsImagesOfAnotherLength changes the length of ldlinux.sys that extlinux stores.
func TestExtractRejectsImagesOfAnotherLength(t *testing.T) {
	t.Parallel()
	program := read(t, diskimagetest.File(t, "/usr/bin/extlinux"))
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(loader(t).image)))
	other := binary.LittleEndian.AppendUint32(nil, uint32(len(loader(t).image)-sectorSize))
	if _, err := Extract(bytes.ReplaceAll(program, length, other)); err == nil ||
		!strings.Contains(err.Error(), "length") {
		t.Errorf("got %v, want an error about the length", err)
	}
}

func TestExtractRejectsOtherPrograms(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"not ELF": []byte("#!/bin/sh\n"), "other program": read(t, program)} {
		if _, err := Extract(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMBRCodeEndsBeforeThePartitionTable(t *testing.T) {
	t.Parallel()
	if _, err := MBRCode(make([]byte, mbrSize+1)); err == nil {
		t.Error("code of 441 bytes: no error")
	}
	if p, err := MBRCode(make([]byte, mbrSize)); err != nil || p.Offset != 0 {
		t.Errorf("code of 440 bytes: patch at %d, %v", p.Offset, err)
	}
}
