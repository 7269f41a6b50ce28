package syslinux

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

func loader(t *testing.T) Loader {
	t.Helper()
	data, err := os.ReadFile(diskimagetest.File(t, "/usr/bin/extlinux"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Extract(data)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestInstallOnFATEqualsSyslinux installs to a FAT with syslinux's own installer and compares, byte for byte.
func TestInstallOnFATEqualsSyslinux(t *testing.T) {
	t.Parallel()
	installer, mkfs, copyOut := diskimagetest.Tool(t, "syslinux"), diskimagetest.Tool(t, "mkfs.fat"), diskimagetest.Tool(t, "mcopy")
	dir := t.TempDir()
	image := filepath.Join(dir, "fat.img")
	const size = 32 << 20
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	run(t, mkfs, "-F", "16", image)
	run(t, installer, "--install", image)
	file := filepath.Join(dir, "ldlinux.sys")
	run(t, copyOut, "-i", image, "::/ldlinux.sys", file)
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(disk, want)
	if at < 0 {
		t.Fatal("ldlinux.sys is not in one piece on a fresh file system")
	}

	patches, got, err := loader(t).Install(Placement{
		Sectors: size / sectorSize, FAT: true, // without -d, syslinux names no directory
		File: []diskimage.Extent{{Offset: int64(at), Length: int64(len(want))}},
	})
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
			continue // the boot sector has it
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

func TestInstallRefusesHolesAndLongDirectories(t *testing.T) {
	t.Parallel()
	l := loader(t)
	whole := []diskimage.Extent{{Offset: 4096, Length: int64(len(l.File()))}}
	for _, tt := range []struct {
		name string
		p    Placement
		want string
	}{
		{"hole", Placement{File: []diskimage.Extent{{Offset: 4096, Length: 4096}}, Directory: "/"}, "holes"},
		{"inside a sector", Placement{File: []diskimage.Extent{{Offset: 100, Length: 1 << 20}}, Directory: "/"}, "inside a sector"},
		{"directory", Placement{File: whole, Directory: "/" + strings.Repeat("x", 300)}, "too long"},
	} {
		if _, _, err := l.Install(tt.p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestExtractRefusesOtherPrograms(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"not ELF": []byte("#!/bin/sh\n"), "other program": data} {
		if _, err := Extract(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConfigNamesTheSerialLineFirst(t *testing.T) {
	t.Parallel()
	c := Config{Kernel: "/vmlinuz", Initrd: "/initrd.img", Append: "root=UUID=x ro", SerialBaud: 115200}
	want := "serial 0 115200\ndefault linux\ntimeout 1\n\nlabel linux\n\tkernel /vmlinuz\n\tappend initrd=/initrd.img root=UUID=x ro\n"
	if got := string(c.Bytes()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMBRCodeStaysBelowThePartitionTable(t *testing.T) {
	t.Parallel()
	if _, err := MBRCode(make([]byte, mbrSize+1)); err == nil {
		t.Error("code of 441 bytes: no error")
	}
	if p, err := MBRCode(make([]byte, mbrSize)); err != nil || p.Offset != 0 {
		t.Errorf("code of 440 bytes: patch at %d, %v", p.Offset, err)
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
