// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	sectorSize = 512
	dwordSize  = 4

	// magic marks the patch area of ldlinux.sys and, at magicInBootSector, a boot sector of syslinux (LDLINUX_MAGIC
	// in libinstaller/syslxint.h).
	magic             = 0x3eb202fe
	magicInBootSector = 0x1f8

	// maxImage is more than any ldlinux.sys of syslinux 4 to 6 has.
	maxImage = 96 << 10
)

// banner is what ldlinux.sys begins with.
var banner = []byte("\r\nSYSLINUX ")

// Loader is syslinux as it comes, before it knows where it is.
type Loader struct {
	bootSector [sectorSize]byte
	// image is ldlinux.sys, a multiple of 512 bytes, without the auxiliary data behind it.
	image []byte
}

// Extract finds the boot sector and ldlinux.sys in the data of Debian's extlinux program: they are arrays there
// (syslinux_bootsect and syslinux_ldlinux of libinstaller), and no package has them as files.
func Extract(extlinux []byte) (Loader, error) {
	file, err := elf.NewFile(bytes.NewReader(extlinux))
	if err != nil {
		return Loader{}, fmt.Errorf("read extlinux: %w", err)
	}
	defer file.Close()
	section := file.Section(".data")
	if section == nil {
		return Loader{}, errors.New("read extlinux: no .data section")
	}
	data, err := section.Data()
	if err != nil {
		return Loader{}, fmt.Errorf("read .data of extlinux: %w", err)
	}
	var l Loader
	if err := l.findBootSector(data); err != nil {
		return Loader{}, err
	}
	if err := l.findImage(data); err != nil {
		return Loader{}, err
	}
	if err := l.checkLength(file); err != nil {
		return Loader{}, err
	}
	return l, nil
}

// findBootSector looks for a jump, "SYSLINUX" as OEM name, the magic number and the end mark at their places.
func (l *Loader) findBootSector(data []byte) error {
	oem := []byte("SYSLINUX")
	for at := 0; ; {
		i := bytes.Index(data[at:], oem)
		if i < 0 {
			return errors.New("extlinux holds no boot sector")
		}
		start := at + i - 3 // a jump of three bytes comes first
		at += i + len(oem)
		if start < 0 || start+sectorSize > len(data) {
			continue
		}
		s := data[start : start+sectorSize]
		if s[0] == 0xeb && s[2] == 0x90 && binary.LittleEndian.Uint32(s[magicInBootSector:]) == magic &&
			s[510] == 0x55 &&
			s[511] == 0xaa {
			copy(l.bootSector[:], s)
			return nil
		}
	}
}

// findImage takes what is between the banner and the end of the data: the array is the last one in there.
func (l *Loader) findImage(data []byte) error {
	start := bytes.Index(data, banner)
	if start < 0 {
		return errors.New("extlinux holds no ldlinux.sys")
	}
	image := data[start:]
	image = image[:len(image)/sectorSize*sectorSize]
	if len(image) == 0 || len(image) > maxImage {
		return fmt.Errorf("ldlinux.sys in extlinux has %d bytes, which cannot be", len(image))
	}
	l.image = bytes.Clone(image)
	_, err := findPatchArea(l.image)
	return err
}

// checkLength looks for the length of ldlinux.sys among the program's constants (syslinux_ldlinux_len, a u32 that
// libinstaller/bin2c.pl writes with the array). Should a compiler put other data behind the array one day, then this
// fails, and no loader with a wrong end and checksum gets onto a disk.
func (l *Loader) checkLength(file *elf.File) error {
	section := file.Section(".rodata")
	if section == nil {
		return errors.New("read extlinux: no .rodata section")
	}
	constants, err := section.Data()
	if err != nil {
		return fmt.Errorf("read .rodata of extlinux: %w", err)
	}
	for ; len(constants) >= dwordSize; constants = constants[dwordSize:] {
		if uint64(binary.LittleEndian.Uint32(constants)) == uint64(len(l.image)) {
			return nil
		}
	}
	return fmt.Errorf("ldlinux.sys in extlinux seems to have %d bytes, but extlinux does not know this length",
		len(l.image))
}

// File is what ldlinux.sys has to be in the tree before the file system is planned: a file of the final length without
// a single zero block, so that no writer makes a hole of one. Its mode is 0444.
func (l Loader) File() []byte {
	return bytes.Repeat([]byte{0xff}, len(l.image)+advCopies*sectorSize)
}
