// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const (
	// cdBlock is the length of a block of a CD, and of cdboot.img.
	cdBlock = 2048
	// cdDescriptor is the block with the primary volume descriptor.
	cdDescriptor = 16
	// sectorsPerBlock counts sectors of a disk with the same content.
	sectorsPerBlock = cdBlock / sectorSize

	// cdInfo is where cdboot.img expects the boot information table of mkisofs: u32 numbers of the block with the
	// descriptor and of the file's first block, its length, and the sum of the words after the table, up to cdInfoEnd.
	cdInfo    = 0x08
	cdInfoEnd = 0x40

	// hybridSector is where boot_hybrid.img has the number of the first sector of core.img, u64 (GRUB
	// grub-core/boot/i386/pc/boot.S, HYBRID_BOOT).
	hybridSector = 0x1b0
)

// CDModules are the modules of a core.img that needs no other ones from its CD: those that show a menu and start Linux.
func CDModules() []string {
	return append(CoreModules(BIOSPlatform, "iso9660"), "normal", "configfile", "search", "linux", "test", "echo",
		"sleep", "serial", "terminal", "halt", "reboot")
}

// CDImage returns the file that a BIOS starts from a CD: cdboot.img, which loads the rest, and core.img.
func CDImage(cdboot, core []byte) ([]byte, error) {
	if len(cdboot) != cdBlock {
		return nil, fmt.Errorf("cdboot.img has %d bytes, want %d: it is not from GRUB 2", len(cdboot), cdBlock)
	}
	core = append(bytes.Clone(core), make([]byte, -len(core)&(sectorSize-1))...)
	if len(core) < 2*sectorSize {
		return nil, fmt.Errorf("core.img has only %d bytes", len(core))
	}
	if err := checkCore(core); err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{cdboot, core}, nil), nil
}

// EmbedCD returns the patches of a medium that boots as a CD and as a disk. image is the result of
// CDImage, and block the number of its first block on the medium; hybrid is boot_hybrid.img of
// grub-pc-bin, for sector 0, which loads core.img from the same file.
//
// xorriso writes the same with -boot-info-table --grub2-boot-info --grub2-mbr boot_hybrid.img.
func EmbedCD(hybrid, image []byte, block uint32) ([]diskimage.Patch, error) {
	if len(hybrid) != sectorSize || len(image) < cdBlock+sectorSize {
		return nil, fmt.Errorf("boot_hybrid.img has %d bytes and the boot image %d: they are not from GRUB 2", len(hybrid),
			len(image))
	}
	core := uint64(block+1) * sectorsPerBlock
	image = bytes.Clone(image)
	// The first sector of core.img loads the others, which follow it.
	binary.LittleEndian.PutUint64(image[cdBlock+blockList:], core+1)
	var sum uint32
	words := append(bytes.Clone(image[cdInfoEnd:]), make([]byte, -len(image)&3)...)
	for at := 0; at < len(words); at += 4 {
		sum += binary.LittleEndian.Uint32(words[at:])
	}
	table := image[cdInfo:cdInfoEnd]
	clear(table)
	for i, value := range []uint32{cdDescriptor, block, uint32(len(image)), sum} {
		binary.LittleEndian.PutUint32(table[4*i:], value)
	}
	code := bytes.Clone(hybrid[:tableStart])
	binary.LittleEndian.PutUint64(code[hybridSector:], core)
	return []diskimage.Patch{
		{Offset: 0, Data: code, What: "boot code of GRUB"},
		{Offset: int64(block) * cdBlock, Data: image[:cdBlock+sectorSize], What: "boot image of GRUB"},
	}, nil
}
