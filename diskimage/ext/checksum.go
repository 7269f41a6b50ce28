// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a CRC-32C as the kernel computes it: unlike hash/crc32, it inverts neither its
// input nor its result.
func crc32c(crc uint32, data []byte) uint32 { return ^crc32.Update(^crc, castagnoli, data) }

// crc32cUint32 continues a CRC-32C with a little-endian number.
func crc32cUint32(crc, n uint32) uint32 {
	return crc32c(crc, binary.LittleEndian.AppendUint32(nil, n))
}

// crc32cUint64 continues a CRC-32C with a little-endian number.
func crc32cUint64(crc uint32, n uint64) uint32 {
	return crc32c(crc, binary.LittleEndian.AppendUint64(nil, n))
}

// crc16 continues a CRC-16 (polynomial 0x8005, reflected), the checksum of uninit_bg.
func crc16(crc uint16, data []byte) uint16 {
	const reflected = 0xA001
	for _, b := range data {
		crc ^= uint16(b)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low != 0 {
				crc ^= reflected
			}
		}
	}
	return crc
}

// checksums computes the checksums of one file system (fs/ext4, "metadata_csum" and "uninit_bg").
type checksums struct {
	features
	uuid uuid.UUID
	seed uint32 // every metadata_csum checksum but the superblock's starts from it
}

func newChecksums(f features, id uuid.UUID) checksums {
	return checksums{features: f, uuid: id, seed: crc32c(^uint32(0), id[:])}
}

// superBlock returns the checksum of an encoded superblock.
func (c checksums) superBlock(block []byte) uint32 {
	return crc32c(^uint32(0), block[:disk.SuperBlockChecksummed])
}

// groupDesc returns the checksum of an encoded descriptor, whose checksum field must be zero.
func (c checksums) groupDesc(group uint32, desc []byte) uint16 {
	switch {
	case c.metaCsum():
		return uint16(crc32c(crc32cUint32(c.seed, group), desc))
	case c.gdtCsum():
		crc := crc16(^uint16(0), c.uuid[:])
		crc = crc16(crc, binary.LittleEndian.AppendUint32(nil, group))
		crc = crc16(crc, desc[:disk.GroupDescChecksumOffset])
		return crc16(crc, desc[disk.GroupDescChecksumOffset+2:])
	}
	return 0
}

// bitmap returns the checksum of a bitmap without its padding; 0 without metadata_csum.
func (c checksums) bitmap(bits []byte) uint32 {
	if !c.metaCsum() {
		return 0
	}
	return crc32c(c.seed, bits)
}

// ofInode returns the initial value of each checksum of an inode and of its blocks. The generation
// is always 0 here.
func (c checksums) ofInode(number uint32) uint32 {
	const generation = 0
	return crc32cUint32(crc32cUint32(c.seed, number), generation)
}

// xattrBlock returns the checksum of an attribute block, whose checksum field must be zero.
func (c checksums) xattrBlock(number uint64, block []byte) uint32 {
	return crc32c(crc32cUint64(c.seed, number), block)
}

// orphanBlock returns the checksum of an empty block of the orphan file.
func (c checksums) orphanBlock(inode uint32, number uint64, block []byte) uint32 {
	return crc32c(crc32cUint64(c.ofInode(inode), number), block[:disk.OrphanTailOffset])
}
