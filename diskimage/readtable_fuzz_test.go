// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// FuzzReadTable reads partition tables in which some bytes were changed: whatever they contain, all
// partitions are inside the disk.
func FuzzReadTable(f *testing.F) {
	const head = 20 << 10 // protective MBR, header and entries
	var disks []memoryFile
	for _, table := range []TableKind{MSDOS, GPT} {
		l, err := NewLayout(Request{Size: 4 * MiB, Table: table, ID: testDiskID, Partitions: []PartitionRequest{
			{Role: RoleESP, Size: MiB}, {Role: RoleRoot},
		}})
		if err != nil {
			f.Fatal(err)
		}
		disk := make(memoryFile, l.Size)
		if err := WriteTable(disk, l); err != nil {
			f.Fatal(err)
		}
		disks = append(disks, disk)
	}
	for i := range byte(8) {
		f.Add(i, []byte{2, 0x48 + 4*i, 0xFF, 2, 0x50 + i, 0xFF, 1, 0xC0 + i, 0xEE}, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte, noBackup bool) {
		disk := bytes.Clone(disks[int(which)%len(disks)])
		for ; len(data) >= 3; data = data[3:] { // offset and value
			place := (int(data[0])<<8 | int(data[1])) % head
			disk[place] = data[2]
		}
		if noBackup {
			clear(disk[len(disk)-head:])
			sumGPT(disk)
		}
		found, err := ReadTable(bytes.NewReader(disk), Size(len(disk)))
		if err != nil {
			return
		}
		for _, p := range found {
			if p.Start > Size(len(disk)) || p.Size > Size(len(disk))-p.Start {
				t.Errorf("%+v is outside the disk of %d bytes", p, len(disk))
			}
		}
	})
}

// sumGPT corrects the checksums of a GPT, as an attacker would (UEFI specification 2.10, 5.3.2).
func sumGPT(disk []byte) {
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(disk[at:])) }
	const header = 512
	start, length := u32(header+72)*512, u32(header+80)*u32(header+84)
	if size := int64(len(disk)); start <= size && length <= size-start {
		binary.LittleEndian.PutUint32(disk[header+88:], crc32.ChecksumIEEE(disk[start:start+length]))
	}
	clear(disk[header+16 : header+20])
	length = min(u32(header+12), 512)
	binary.LittleEndian.PutUint32(disk[header+16:], crc32.ChecksumIEEE(disk[header:header+length]))
}
