// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const sectorSize = 512

// Offsets in boot.img, the first sector of the disk. GRUB include/grub/i386/pc/boot.h.
const (
	bpbStart       = 0x003 // GRUB_BOOT_MACHINE_BPB_START: kept, may be the parameters of a FAT
	bpbEnd         = 0x05a // GRUB_BOOT_MACHINE_BPB_END
	kernelAddress  = 0x05a // GRUB_BOOT_MACHINE_KERNEL_ADDRESS: u16, where the first sector of core.img is loaded
	kernelSector   = 0x05c // GRUB_BOOT_MACHINE_KERNEL_SECTOR: u64, LBA of the first sector of core.img
	bootDrive      = 0x064 // GRUB_BOOT_MACHINE_BOOT_DRIVE: u8, 0xff means the drive that the BIOS booted
	bootDriveCheck = 0x066 // GRUB_BOOT_MACHINE_DRIVE_CHECK: u16, a jump over the check for a wrong drive number
	tableStart     = 0x1b8 // disk signature and partition table up to the end mark: kept
	tableEnd       = 0x1fe
)

// Offsets in core.img. Its first sector is diskboot.img, whose block list grows down from the
// sector's end; the decompressor follows, with its own header. GRUB include/grub/offsets.h,
// include/grub/i386/pc/boot.h.
const (
	blockListEntry = 12                          // start u64, length in sectors u16, segment u16
	blockList      = sectorSize - blockListEntry // 0x1f4, GRUB_BOOT_MACHINE_LIST_SIZE from the end
	blockListEnd   = blockList - blockListEntry  // its length is zero: end of the list
	firstAddress   = 0x8000                      // GRUB_BOOT_MACHINE_KERNEL_ADDR
	firstSegment   = 0x0820                      // GRUB_BOOT_MACHINE_KERNEL_SEG + one sector
	redundancy     = sectorSize + 0x10           // GRUB_DECOMPRESSOR_I386_PC_REED_SOLOMON_REDUNDANCY: u32
	// maxSectors is the room between 0x9000, where core.img is loaded, and 0x78000, the end of the
	// low memory that GRUB uses (GRUB_MEMORY_MACHINE_UPPER less its own area;
	// grub-core/boot/i386/pc/diskboot.S).
	maxSectors = (0x78000 - 0x9000) / sectorSize
)

// driveCheckOn is the jump in an unchanged boot.img.
var driveCheckOn = []byte{0xeb, 0x05}

// driveCheckOff is two NOP instructions, which disable the drive check: some BIOSes pass a wrong
// number for a hard disk (util/setup.c does the same unless the disk is a floppy).
var driveCheckOff = []byte{0x90, 0x90}

// Embedding is the location of core.img.
type Embedding struct {
	// CoreLBA is the first sector of core.img: 1 in the gap after an msdos table, or the start of
	// the BIOS boot partition on a GPT disk.
	CoreLBA uint64
	// Sectors is the room at CoreLBA: up to the first partition, or the length of the BIOS boot
	// partition.
	Sectors uint64
}

// EmbedBIOS returns the boot code for sector 0 and the blocks of core.img. bootImage is boot.img of
// grub-pc-bin; coreImage is the output of grub-mkimage -O i386-pc. The result equals that of
// grub-bios-setup --no-rs-codes.
//
// The patches do not contain the bytes of sector 0 that belong to the disk: a FAT's parameters, the
// disk signature and the partition table.
func EmbedBIOS(bootImage, coreImage []byte, at Embedding) ([]diskimage.Patch, error) {
	if err := checkBoot(bootImage); err != nil {
		return nil, err
	}
	if len(coreImage) < 2*sectorSize {
		return nil, fmt.Errorf("core.img of %d bytes is too short", len(coreImage))
	}
	if at.CoreLBA == 0 {
		return nil, errors.New("core.img cannot be in sector 0")
	}
	sectors := (uint64(len(coreImage)) + sectorSize - 1) / sectorSize
	if sectors > maxSectors {
		return nil, fmt.Errorf("core.img has %d sectors; GRUB can load at most %d", sectors, maxSectors)
	}
	if sectors > at.Sectors {
		return nil, fmt.Errorf("core.img needs %d sectors at sector %d; %d are available", sectors, at.CoreLBA,
			at.Sectors)
	}
	core := make([]byte, sectors*sectorSize)
	copy(core, coreImage)
	if err := checkCore(core); err != nil {
		return nil, err
	}
	putEntry(core[blockList:], at.CoreLBA+1, uint16(sectors-1), firstSegment)

	boot := bytes.Clone(bootImage)
	binary.LittleEndian.PutUint64(boot[kernelSector:], at.CoreLBA)
	boot[bootDrive] = 0xff
	copy(boot[bootDriveCheck:], driveCheckOff)
	return []diskimage.Patch{
		{Offset: 0, Data: boot[:bpbStart], What: "GRUB boot.img"},
		{Offset: bpbEnd, Data: boot[bpbEnd:tableStart], What: "GRUB boot.img"},
		{Offset: tableEnd, Data: boot[tableEnd:], What: "GRUB boot.img"},
		{Offset: int64(at.CoreLBA) * sectorSize, Data: core, What: "GRUB core.img"},
	}, nil
}

// putEntry writes an entry of the block list.
func putEntry(b []byte, start uint64, sectors, segment uint16) {
	binary.LittleEndian.PutUint64(b, start)
	binary.LittleEndian.PutUint16(b[8:], sectors)
	binary.LittleEndian.PutUint16(b[10:], segment)
}

// checkBoot checks that boot.img is an unchanged one of GRUB for hard disks.
func checkBoot(boot []byte) error {
	if len(boot) != sectorSize || boot[sectorSize-2] != 0x55 || boot[sectorSize-1] != 0xaa {
		return fmt.Errorf("boot.img of %d bytes is not a boot sector", len(boot))
	}
	if got := binary.LittleEndian.Uint16(boot[kernelAddress:]); got != firstAddress {
		return fmt.Errorf("boot.img loads core.img to %#x, want %#x: it is not from GRUB 2", got, firstAddress)
	}
	if got := boot[bootDriveCheck : bootDriveCheck+len(driveCheckOn)]; !bytes.Equal(got, driveCheckOn) {
		return fmt.Errorf("boot.img has % x instead of its drive check", got)
	}
	return nil
}

// checkCore checks that core.img is unchanged since grub-mkimage, with a list of one entry.
func checkCore(core []byte) error {
	entry := core[blockList:sectorSize]
	if got := binary.LittleEndian.Uint16(entry[10:]); got != firstSegment {
		return fmt.Errorf("core.img is loaded to segment %#x, want %#x: it is not for i386-pc", got, firstSegment)
	}
	if got, want := int(binary.LittleEndian.Uint16(entry[8:])), len(core)/sectorSize-1; got != want {
		return fmt.Errorf("core.img has %d sectors after its first one according to its block list, but %d in fact", got, want)
	}
	if list := core[blockListEnd:blockList]; !bytes.Equal(list, make([]byte, blockListEntry)) {
		return errors.New("core.img already has several parts; want unchanged output of grub-mkimage")
	}
	if n := binary.LittleEndian.Uint32(core[redundancy:]); n != 0 {
		return fmt.Errorf("core.img has %d bytes of Reed-Solomon codes; want unchanged output of grub-mkimage", n)
	}
	return nil
}
