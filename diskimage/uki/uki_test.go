// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// stub returns systemd-stub for the machine that runs the test.
func stub(t testing.TB) []byte {
	t.Helper()
	return read(t, diskimagetest.File(t, "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
		"/usr/lib/systemd/boot/efi/linuxaa64.efi.stub"))
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parts returns parts with the stub as kernel: an EFI program for the same machine.
func parts(t testing.TB) Parts {
	t.Helper()
	s := stub(t)
	return Parts{
		Stub: s, Kernel: s, Initrd: bytes.Repeat([]byte("initrd"), 70_001), CommandLine: "root=UUID=x ro console=ttyS0",
		Version: "6.12.57+deb13-amd64", OSRelease: []byte("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux\"\n"),
	}
}

// parts32 returns parts with a program of 32 bits as stub and kernel: GRUB, since Debian for amd64 has no such stub.
func parts32(t testing.TB) Parts {
	t.Helper()
	p := parts(t)
	p.Stub = read(t, diskimagetest.File(t, "/usr/lib/grub/i386-efi/monolithic/grubia32.efi"))
	p.Kernel = p.Stub
	return p
}

// withDirectories returns a program that says it has count data directories, and with the one that
// says where signatures are.
func withDirectories(t *testing.T, program []byte, count uint32, security pe.DataDirectory) []byte {
	t.Helper()
	h, err := parse(program)
	if err != nil {
		t.Fatal(err)
	}
	program = bytes.Clone(program)
	binary.LittleEndian.PutUint32(program[h.optionalPlace()+directoriesPlaces[h.optional.Magic]-4:], count)
	if _, err := binary.Encode(program[h.securityEntry:], binary.LittleEndian, security); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestSectionsAreReadByOthers extracts the sections with objcopy, and reads the headers with
// debug/pe.
func TestSectionsAreReadByOthers(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Parts{"PE32+": parts(t), "PE32": parts32(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testSections(t, p)
		})
	}
}

func testSections(t *testing.T, p Parts) {
	t.Helper()
	image, err := Assemble(p)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(name, image, 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := pe.NewFile(bytes.NewReader(p.Stub))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{
		".osrel": p.OSRelease, ".cmdline": []byte(p.CommandLine), ".uname": []byte(p.Version), ".initrd": p.Initrd,
		".linux": p.Kernel,
	}
	for _, s := range before.Sections {
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		want[s.Name] = data[:min(s.VirtualSize, uint32(len(data)))]
	}
	if want[".sbat"] == nil {
		t.Error("systemd-stub has no .sbat")
	}
	for section, data := range want {
		file := filepath.Join(t.TempDir(), "section")
		diskimagetest.Run(t, "objcopy", "--dump-section", section+"="+file, name, file+".efi")
		if got := read(t, file); !bytes.Equal(got, data) {
			t.Errorf("%s: objcopy reads %d bytes, want %d", section, len(got), len(data))
		}
	}

	after, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	var header pe.OptionalHeader64
	switch h := after.OptionalHeader.(type) {
	case *pe.OptionalHeader64:
		header = *h
	case *pe.OptionalHeader32:
		header.SizeOfImage, header.SectionAlignment, header.FileAlignment = h.SizeOfImage, h.SectionAlignment,
			h.FileAlignment
	}
	last := after.Sections[len(after.Sections)-1]
	if last.Name != ".linux" {
		t.Errorf("the last section is %s, want .linux", last.Name)
	}
	if got, want := header.SizeOfImage, uint32(roundUp(uint64(last.VirtualAddress)+uint64(last.VirtualSize),
		header.SectionAlignment)); got != want {
		t.Errorf("SizeOfImage is %#x, want %#x", got, want)
	}
	var memory, file uint32
	for i, s := range after.Sections {
		switch {
		case i < len(before.Sections):
			// The stub of bookworm has a section that is not aligned.
		case s.VirtualAddress%header.SectionAlignment != 0, s.VirtualAddress < memory:
			t.Errorf("%s is loaded at %#x, want at least %#x", s.Name, s.VirtualAddress, memory)
		case s.Offset%header.FileAlignment != 0, s.Size%header.FileAlignment != 0, s.Offset < file:
			t.Errorf("%s has %#x bytes at %#x, want at least %#x", s.Name, s.Size, s.Offset, file)
		}
		memory, file = s.VirtualAddress+s.VirtualSize, s.Offset+s.Size
	}
	if int(file) != len(image) {
		t.Errorf("the file has %d bytes, the last section ends at %d", len(image), file)
	}
}

func TestNoInitrdMeansNoSection(t *testing.T) {
	t.Parallel()
	p := parts(t)
	p.Initrd = nil
	image, err := Assemble(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if f.Section(".initrd") != nil {
		t.Error("there is a section .initrd")
	}
}

// TestKernelWithoutNXTakesItFromTheImage: firmware that enforces the flag would not start such a
// kernel.
func TestKernelWithoutNXTakesItFromTheImage(t *testing.T) {
	t.Parallel()
	set := func(program []byte, on bool) []byte {
		h, err := parse(program)
		if err != nil {
			t.Fatal(err)
		}
		h.optional.DllCharacteristics &^= pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT
		if on {
			h.optional.DllCharacteristics |= pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT
		}
		program = bytes.Clone(program)
		if err := h.write(program); err != nil {
			t.Fatal(err)
		}
		return program
	}
	for _, kernel := range []bool{true, false} {
		p := parts(t)
		p.Stub, p.Kernel = set(p.Stub, true), set(p.Kernel, kernel)
		image, err := Assemble(p)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parse(image)
		if got := h.optional.DllCharacteristics&pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT != 0; err != nil ||
			got != kernel {
			t.Errorf("kernel with NX %v: image with NX %v, %v", kernel, got, err)
		}
	}
}

func TestAssembleRejectsWhatCannotBoot(t *testing.T) {
	t.Parallel()
	change := func(program []byte, f func(*headers)) []byte {
		h, err := parse(program)
		if err != nil {
			t.Fatal(err)
		}
		program = bytes.Clone(program)
		f(&h)
		if err := h.write(program); err != nil {
			t.Fatal(err)
		}
		return program
	}
	for _, tt := range []struct {
		name   string
		change func(*Parts)
		want   string
	}{
		{"no stub", func(p *Parts) { p.Stub = nil }, "read systemd-stub: not an EFI program"},
		{"no kernel", func(p *Parts) { p.Kernel = nil }, "read the kernel as an EFI program"},
		{"gzip kernel", func(p *Parts) { p.Kernel = slices.Concat([]byte{0x1f, 0x8b}, p.Kernel) }, "MZ"},
		{"another machine", func(p *Parts) {
			p.Kernel = change(p.Kernel, func(h *headers) { h.file.Machine = pe.IMAGE_FILE_MACHINE_RISCV64 })
		}, "for machine type 0x5064"},
		{"signed stub", func(p *Parts) {
			p.Stub = withDirectories(t, p.Stub, 16, pe.DataDirectory{VirtualAddress: 4096})
		}, "signed"},
		{"a ROM", func(p *Parts) {
			p.Stub = change(p.Stub, func(h *headers) { h.optional.Magic = 0x107 })
		}, "type 0x107"},
		{"a kernel of 32 bits", func(p *Parts) { p.Kernel = parts32(t).Kernel }, "for machine type 0x14c"},
		{"no room", func(p *Parts) {
			p.Stub = change(p.Stub, func(h *headers) { h.optional.SizeOfHeaders = uint32(h.sectionTable() + 300) })
		}, "room for"},
		{"odd alignment", func(p *Parts) {
			p.Stub = change(p.Stub, func(h *headers) { h.optional.FileAlignment = 48 })
		}, "power of two"},
	} {
		p := parts(t)
		tt.change(&p)
		if _, err := Assemble(p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// FuzzAssemble checks that no stub causes a panic.
func FuzzAssemble(f *testing.F) {
	whole, whole32 := stub(f), parts32(f).Stub
	for _, n := range []int{0, 1, 64, 300, 600, len(whole)} {
		f.Add(whole[:min(n, len(whole))])
	}
	f.Add(whole32[:4096])
	f.Fuzz(func(t *testing.T, stub []byte) {
		image, err := Assemble(Parts{Stub: stub, Kernel: whole, CommandLine: "quiet"})
		if err == nil && !bytes.Contains(image, whole) {
			t.Error(fmt.Errorf("an image of %d bytes holds no kernel", len(image)))
		}
	})
}
