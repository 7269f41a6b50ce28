// SPDX-License-Identifier: Apache-2.0

// Package uki assembles unified kernel images: single EFI programs that contain a Linux kernel, its
// initramfs and its command line, according to the UAPI Group's specification "Unified Kernel Image
// (UKI)". systemd-boot lists those in the directory EFI/Linux of the EFI system partition, and
// firmware can start one directly.
//
// The image is systemd-stub (linuxx64.efi.stub of Debian's systemd-boot-efi) with additional
// sections, as made by ukify(1). Assemble is pure: bytes in, bytes out. The format is Microsoft's
// "PE Format", PE32+ for 64-bit machines and PE32 for others.
//
// A Signer signs the image, or any other EFI program, for Secure Boot.
//
// Not supported: precalculated TPM measurements (.pcrsig), device trees, splash screens and microcode
// sections, profiles. The stub's .sbat is kept; a .sbat of the kernel is not merged into it, which
// matters only to images that shim starts.
package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Parts are the parts of an image.
type Parts struct {
	// Stub is systemd-stub for the architecture of the kernel.
	Stub []byte
	// Kernel is a kernel that is an EFI program (CONFIG_EFI_STUB), as all of Debian's are.
	Kernel []byte
	// Initrd may be empty.
	Initrd []byte
	// CommandLine is the kernel's command line.
	CommandLine string
	// Version is the kernel's version, as printed by uname -r.
	Version string
	// OSRelease is the text of os-release(5), which is the source of the entry's title in boot
	// menus.
	OSRelease []byte
}

// section is a section to add to the stub.
type section struct {
	name            string
	data            []byte
	characteristics uint32
}

const readableData = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ

// sections returns the sections in load order. The kernel is the last one: older kernels are
// decompressed in place, over whatever follows them (systemd-stub(7) of version 252).
func (p Parts) sections() []section {
	all := []section{
		{".osrel", p.OSRelease, readableData},
		{".cmdline", []byte(p.CommandLine), readableData},
		{".uname", []byte(p.Version), readableData},
		{".initrd", p.Initrd, readableData},
		{".linux", p.Kernel, pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_READ},
	}
	var some []section
	for _, s := range all {
		if len(s.data) > 0 {
			some = append(some, s)
		}
	}
	return some
}

// Assemble returns the image.
func Assemble(p Parts) ([]byte, error) {
	h, err := parse(p.Stub)
	if err != nil {
		return nil, fmt.Errorf("read systemd-stub: %w", err)
	}
	kernel, err := parse(p.Kernel)
	if err != nil {
		return nil, fmt.Errorf("read the kernel as an EFI program: %w", err)
	}
	if kernel.file.Machine != h.file.Machine {
		return nil, fmt.Errorf("the kernel is for machine type %#x, systemd-stub for %#x", kernel.file.Machine,
			h.file.Machine)
	}
	if h.security.VirtualAddress != 0 {
		return nil, errors.New("systemd-stub is signed: the signature would not cover the added sections")
	}
	// The firmware sets the permissions of the kernel's memory by the image's flags, not by the
	// kernel's.
	const nx = pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT
	if kernel.optional.DllCharacteristics&nx == 0 {
		h.optional.DllCharacteristics &^= nx
	}
	added := p.sections()
	length := int64(len(p.Stub))
	for _, s := range added {
		header, err := h.headerFor(s, length)
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", s.name, err)
		}
		h.sections = append(h.sections, header)
		length = int64(header.PointerToRawData) + int64(header.SizeOfRawData)
	}
	if err := h.checkRoom(); err != nil {
		return nil, err
	}
	h.finish(len(added))
	image := make([]byte, length)
	copy(image, p.Stub)
	for i, header := range h.sections[len(h.sections)-len(added):] {
		copy(image[header.PointerToRawData:], added[i].data)
	}
	return image, h.write(image)
}

// headers are the headers of an EFI program.
type headers struct {
	at       int // offset of the file header, after the signature
	file     pe.FileHeader
	optional optionalHeader
	// securityEntry is the offset of the data directory that says where signatures are, security its value; both are
	// zero if the program has no such directory.
	securityEntry int
	security      pe.DataDirectory
	sections      []pe.SectionHeader32
}

// optionalHeader is the first part of the optional header, whose fields PE32 and PE32+ have at the
// same offsets. Sizes of stack and heap follow, of 4 or 8 bytes each, and the data directories.
type optionalHeader struct {
	Magic                   uint16   // 0
	LinkerVersion           [2]byte  // 2
	SizeOfCode              uint32   // 4
	SizeOfInitializedData   uint32   // 8
	SizeOfUninitializedData uint32   // 12
	AddressOfEntryPoint     uint32   // 16
	BaseOfCode              uint32   // 20
	ImageBase               [8]byte  // 24: in PE32, BaseOfData and ImageBase
	SectionAlignment        uint32   // 32
	FileAlignment           uint32   // 36
	Versions                [16]byte // 40
	SizeOfImage             uint32   // 56
	SizeOfHeaders           uint32   // 60
	CheckSum                uint32   // 64
	Subsystem               uint16   // 68
	DllCharacteristics      uint16   // 70
}

const (
	signaturePlace = 0x3c // u32: offset of the signature
	peSignature    = "PE\x00\x00"
	magicPE32      = 0x10b
	magicPE32Plus  = 0x20b
)

// directoriesPlaces are the offsets of the data directories in the optional header, after their number.
var directoriesPlaces = map[uint16]int{magicPE32: 96, magicPE32Plus: 112}

// optionalPlace returns the offset of the optional header.
func (h headers) optionalPlace() int { return h.at + binary.Size(h.file) }

// sectionTable returns the offset of the section headers.
func (h headers) sectionTable() int {
	return h.optionalPlace() + int(h.file.SizeOfOptionalHeader)
}

// parse decodes the headers.
func parse(program []byte) (headers, error) {
	var h headers
	if len(program) < signaturePlace+4 || program[0] != 'M' || program[1] != 'Z' {
		return h, errors.New("not an EFI program: it does not begin with MZ")
	}
	at := int64(binary.LittleEndian.Uint32(program[signaturePlace:]))
	if at+int64(len(peSignature)) > int64(len(program)) ||
		string(program[at:at+int64(len(peSignature))]) != peSignature {
		return h, errors.New("not an EFI program: no PE signature")
	}
	h.at = int(at) + len(peSignature)
	r := bytes.NewReader(program[h.at:])
	if err := binary.Read(r, binary.LittleEndian, &h.file); err != nil {
		return h, fmt.Errorf("file header: %w", err)
	}
	optional := make([]byte, h.file.SizeOfOptionalHeader)
	if _, err := io.ReadFull(r, optional); err != nil {
		return h, fmt.Errorf("optional header: %w", err)
	}
	if _, err := binary.Decode(optional, binary.LittleEndian, &h.optional); err != nil {
		return h, fmt.Errorf("optional header: %w", err)
	}
	directories, known := directoriesPlaces[h.optional.Magic]
	if !known || len(optional) < directories {
		return h, fmt.Errorf("optional header of type %#x with %d bytes: want PE32 or PE32+", h.optional.Magic,
			len(optional))
	}
	// A kernel has fewer data directories than the format allows.
	const index = pe.IMAGE_DIRECTORY_ENTRY_SECURITY
	count := binary.LittleEndian.Uint32(optional[directories-4:])
	if entry := directories + index*directorySize; count > index && entry+directorySize <= len(optional) {
		h.securityEntry = h.optionalPlace() + entry
		if _, err := binary.Decode(optional[entry:], binary.LittleEndian, &h.security); err != nil {
			return h, fmt.Errorf("BUG: data directory: %w", err)
		}
	}
	h.sections = make([]pe.SectionHeader32, h.file.NumberOfSections)
	if err := binary.Read(r, binary.LittleEndian, &h.sections); err != nil {
		return h, fmt.Errorf("section headers: %w", err)
	}
	for name, unit := range map[string]uint32{"sections": h.optional.SectionAlignment,
		"data in the file": h.optional.FileAlignment} {
		if unit == 0 || unit&(unit-1) != 0 {
			return h, fmt.Errorf("alignment of %s is %d, not a power of two", name, unit)
		}
	}
	return h, nil
}

// end returns the address after the last section.
func (h headers) end() uint64 {
	var end uint64
	for _, s := range h.sections {
		end = max(end, uint64(s.VirtualAddress)+uint64(s.VirtualSize))
	}
	return end
}

// headerFor returns the header of a section that follows all others, in memory and in the file, which
// has length bytes so far.
func (h headers) headerFor(s section, length int64) (pe.SectionHeader32, error) {
	header := pe.SectionHeader32{Characteristics: s.characteristics}
	copy(header.Name[:], s.name)
	address, offset := roundUp(h.end(), h.optional.SectionAlignment), roundUp(uint64(length), h.optional.FileAlignment)
	size := roundUp(uint64(len(s.data)), h.optional.FileAlignment)
	if address+uint64(len(s.data)) > math.MaxUint32 || offset+size > math.MaxUint32 {
		return header, fmt.Errorf("%d bytes at %d end beyond 4 GiB, the limit of the format", len(s.data), offset)
	}
	header.VirtualSize, header.VirtualAddress = uint32(len(s.data)), uint32(address)
	header.SizeOfRawData, header.PointerToRawData = uint32(size), uint32(offset)
	return header, nil
}

// finish updates the fields that depend on the sections, of which the last ones are new.
func (h *headers) finish(added int) {
	for _, s := range h.sections[len(h.sections)-added:] {
		if s.Characteristics&pe.IMAGE_SCN_CNT_INITIALIZED_DATA != 0 {
			h.optional.SizeOfInitializedData += s.SizeOfRawData
		}
	}
	h.file.NumberOfSections = uint16(len(h.sections))
	h.optional.SizeOfImage = uint32(roundUp(h.end(), h.optional.SectionAlignment))
	h.optional.CheckSum = 0 // checked only in drivers
}

// checkRoom checks that the headers end before the sections' data.
func (h headers) checkRoom() error {
	room := h.optional.SizeOfHeaders
	for _, s := range h.sections {
		if s.SizeOfRawData > 0 {
			room = min(room, s.PointerToRawData)
		}
	}
	if need := h.sectionTable() + binary.Size(h.sections); need > int(room) {
		return fmt.Errorf("headers of %d sections take %d bytes, and systemd-stub has room for %d",
			len(h.sections), need,
			room)
	}
	return nil
}

// write writes the headers into an image with room for them.
func (h headers) write(image []byte) error {
	if _, err := binary.Encode(image[h.optionalPlace():], binary.LittleEndian, h.optional); err != nil {
		return fmt.Errorf("BUG: optional header: %w", err)
	}
	if _, err := binary.Encode(image[h.at:], binary.LittleEndian, h.file); err != nil {
		return fmt.Errorf("BUG: file header: %w", err)
	}
	if _, err := binary.Encode(image[h.sectionTable():], binary.LittleEndian, h.sections); err != nil {
		return fmt.Errorf("BUG: section headers: %w", err)
	}
	return nil
}

// roundUp returns the next multiple of a power of two.
func roundUp(n uint64, unit uint32) uint64 {
	return (n + uint64(unit) - 1) &^ (uint64(unit) - 1)
}
