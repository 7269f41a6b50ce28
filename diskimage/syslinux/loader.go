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

	// magic identifies the patch area of ldlinux.sys and, at magicInBootSector, a boot sector of
	// syslinux (LDLINUX_MAGIC in libinstaller/syslxint.h).
	magic             = 0x3eb202fe
	magicInBootSector = 0x1f8

	// maxImage is larger than any ldlinux.sys of syslinux 4 to 6.
	maxImage = 96 << 10
)

// banner is the start of ldlinux.sys.
var banner = []byte("\r\nSYSLINUX ")

// Loader is syslinux without the data about its location on a disk.
type Loader struct {
	bootSector [sectorSize]byte
	// image is ldlinux.sys, a multiple of 512 bytes, without the auxiliary data after it.
	image []byte
}

// Extract finds the boot sector and ldlinux.sys in the data of Debian's extlinux program. They are
// arrays there (syslinux_bootsect and syslinux_ldlinux of libinstaller); no package contains them
// as files.
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

// findBootSector searches for a jump, "SYSLINUX" as OEM name, the magic number and the end mark at
// their offsets.
func (l *Loader) findBootSector(data []byte) error {
	oem := []byte("SYSLINUX")
	for at := 0; ; {
		i := bytes.Index(data[at:], oem)
		if i < 0 {
			return errors.New("extlinux holds no boot sector")
		}
		start := at + i - 3 // after a jump of three bytes
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

// findImage takes the data from the banner to the end: the array is the last one in the section.
func (l *Loader) findImage(data []byte) error {
	start := bytes.Index(data, banner)
	if start < 0 {
		return errors.New("extlinux holds no ldlinux.sys")
	}
	image := data[start:]
	image = image[:len(image)/sectorSize*sectorSize]
	if len(image) == 0 || len(image) > maxImage {
		return fmt.Errorf("ldlinux.sys in extlinux has an impossible length of %d bytes", len(image))
	}
	l.image = bytes.Clone(image)
	_, err := findPatchArea(l.image)
	return err
}

// checkLength searches for the length of ldlinux.sys among the program's constants
// (syslinux_ldlinux_len, a u32 that libinstaller/bin2c.pl writes with the array). If a compiler
// ever places other data after the array, this check fails, instead of writing a loader with a
// wrong end and checksum to a disk.
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
	return fmt.Errorf("ldlinux.sys in extlinux seems to have %d bytes, but extlinux does not contain this length",
		len(l.image))
}

// File returns the content of ldlinux.sys in the tree before the file system is planned: of the
// final length, without a single zero block, so that no writer turns one into a hole. Its mode is
// 0444.
func (l Loader) File() []byte {
	return bytes.Repeat([]byte{0xff}, len(l.image)+advCopies*sectorSize)
}
