// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ulikunitz/xz/lzma"
)

// Core describes a core.img of GRUB for BIOS.
type Core struct {
	// File returns a file of the platform's directory: "kernel.img", "ext2.mod".
	File func(name string) ([]byte, error)
	// Modules are built in, together with their dependencies.
	Modules []string
	// Config is the script that runs first, see LoadConfig.
	Config []byte
	// Prefix is the location of the other modules, see the function Prefix.
	Prefix string
}

// Types of the objects after the kernel, GRUB include/grub/kernel.h (OBJ_TYPE_*).
const (
	objectELF    = 0
	objectConfig = 2
	objectPrefix = 3
)

const (
	modulesMagic = 0x676d696d // GRUB_MODULE_MAGIC, "mimg"
	modulesHead  = 12         // struct grub_module_info32: magic, offset, size
	objectHead   = 8          // struct grub_module_header: type, size with this header
	objectAlign  = 4

	kernelStart = 0x9000 // GRUB_KERNEL_I386_PC_LINK_ADDR
)

// Offsets in lzma_decompress.img, GRUB include/grub/offsets.h.
const (
	compressedSize   = 0x08 // GRUB_DECOMPRESSOR_I386_PC_COMPRESSED_SIZE: u32
	uncompressedSize = 0x0c // GRUB_DECOMPRESSOR_I386_PC_UNCOMPRESSED_SIZE: u32
)

// lzmaHeader is the length of the header of a .lzma file, which GRUB's decompressor does not
// expect.
const lzmaHeader = 13

// Image returns core.img, as grub-mkimage -O i386-pc makes it: the kernel, its modules and the
// script, compressed, after the decompressor and the sector that loads everything. The uncompressed
// data is equal to that of grub-mkimage; the compressed data is not.
func (c Core) Image() ([]byte, error) {
	plain, err := c.plain()
	if err != nil {
		return nil, err
	}
	packed, err := compress(plain)
	if err != nil {
		return nil, fmt.Errorf("compress core.img: %w", err)
	}
	start, err := c.File("diskboot.img")
	if err != nil {
		return nil, err
	}
	decompressor, err := c.File("lzma_decompress.img")
	if err != nil {
		return nil, err
	}
	if len(start) != sectorSize || len(decompressor) < uncompressedSize+4 {
		return nil, fmt.Errorf("diskboot.img has %d bytes and lzma_decompress.img %d: they are not from GRUB 2", len(start),
			len(decompressor))
	}
	start, decompressor = bytes.Clone(start), bytes.Clone(decompressor)
	binary.LittleEndian.PutUint32(decompressor[compressedSize:], uint32(len(packed)))
	binary.LittleEndian.PutUint32(decompressor[uncompressedSize:], uint32(len(plain)))
	sectors := (len(decompressor) + len(packed) + sectorSize - 1) / sectorSize
	if sectors > maxSectors {
		return nil, fmt.Errorf("core.img has %d sectors; GRUB can load at most %d", sectors, maxSectors)
	}
	binary.LittleEndian.PutUint16(start[blockList+8:], uint16(sectors))
	return bytes.Join([][]byte{start, decompressor, packed}, nil), nil
}

// plain returns the kernel with all objects after it.
func (c Core) plain() ([]byte, error) {
	kernel, err := c.kernel()
	if err != nil {
		return nil, err
	}
	names, err := c.closure()
	if err != nil {
		return nil, err
	}
	var objects []byte
	add := func(kind uint32, data []byte) {
		padded := (len(data) + objectAlign - 1) &^ (objectAlign - 1)
		objects = binary.LittleEndian.AppendUint32(objects, kind)
		objects = binary.LittleEndian.AppendUint32(objects, uint32(padded+objectHead))
		objects = append(append(objects, data...), make([]byte, padded-len(data))...)
	}
	for _, name := range names {
		module, err := c.File(name + ".mod")
		if err != nil {
			return nil, err
		}
		add(objectELF, module)
	}
	// Both are strings with a zero byte at the end.
	add(objectConfig, append(bytes.Clone(c.Config), 0))
	add(objectPrefix, append([]byte(c.Prefix), 0))
	head := binary.LittleEndian.AppendUint32(nil, modulesMagic)
	head = binary.LittleEndian.AppendUint32(head, modulesHead)
	head = binary.LittleEndian.AppendUint32(head, uint32(modulesHead+len(objects)))
	return bytes.Join([][]byte{kernel, head, objects}, nil), nil
}

// kernel returns kernel.img as it will be in memory, without the variables that are initialised to
// zero.
func (c Core) kernel() ([]byte, error) {
	data, err := c.File("kernel.img")
	if err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("kernel.img: %w", err)
	}
	if file.Machine != elf.EM_386 || file.Type != elf.ET_EXEC || file.Entry != kernelStart {
		return nil, fmt.Errorf("kernel.img is a program for %s that starts at %#x: it is not GRUB's for i386-pc",
			file.Machine,
			file.Entry)
	}
	var memory []byte
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		text, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("kernel.img: %s: %w", s.Name, err)
		}
		at := int64(s.Addr) - kernelStart
		if at < int64(len(memory)) || at > maxSectors*sectorSize {
			return nil, fmt.Errorf("kernel.img: %s is at %#x", s.Name, s.Addr)
		}
		memory = append(append(memory, make([]byte, at-int64(len(memory)))...), text...)
	}
	if len(memory) == 0 {
		return nil, errors.New("kernel.img is empty")
	}
	return memory, nil
}

// closure returns the modules with all their dependencies, each after its own dependencies.
func (c Core) closure() ([]string, error) {
	text, err := c.File("moddep.lst")
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if name, others, ok := strings.Cut(line, ":"); ok {
			needs[name] = strings.Fields(others)
		}
	}
	var names []string
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, other := range slices.Backward(needs[name]) { // GRUB util/resolve.c reads them into a list from its end
			add(other)
		}
		names = append(names, name)
	}
	for _, name := range c.Modules {
		add(name)
	}
	return names, nil
}

// compress compresses data for GRUB's decompressor: LZMA with the default parameters, which are
// built into it, and a dictionary of 64 KiB, without a header and without an end mark.
func compress(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := lzma.WriterConfig{DictCap: 64 << 10, SizeInHeader: true, Size: int64(len(data))}.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes()[lzmaHeader:], nil
}
