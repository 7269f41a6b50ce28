// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// Marker is the output of the machine code on a MarkerDisk.
const Marker = "MARK reached"

// MarkerDisk creates the smallest image that boots: 512 bytes that write Marker to the serial port
// of a PC, and halt.
func MarkerDisk(t testing.TB, name string) (image string) {
	t.Helper()
	return BootSector(t, name, append([]byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x16, 0x7c, // mov si, 0x7c16 (the text)
		0xba, 0xf8, 0x03, // mov dx, 0x3f8 (first serial port)
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz halt
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xf4,       // halt: hlt
		0xeb, 0xfd, // jmp halt
	}, Marker+"\r\n\x00"...))
}

// BootSector creates an image whose boot sector is machine code, which a BIOS starts.
func BootSector(t testing.TB, name string, code []byte) (image string) {
	t.Helper()
	sector := make([]byte, 1<<20)
	copy(sector, code)
	binary.LittleEndian.PutUint16(sector[510:], 0xaa55)
	image = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(image, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	return image
}
