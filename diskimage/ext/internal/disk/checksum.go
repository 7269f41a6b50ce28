// SPDX-License-Identifier: Apache-2.0

package disk

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C continues a CRC-32C as the kernel computes it: unlike hash/crc32, it inverts neither its
// input nor its result.
func CRC32C(crc uint32, data []byte) uint32 { return ^crc32.Update(^crc, castagnoli, data) }

// crc32cWithout is CRC32C with zeros in place of the length bytes at offset: those of the checksum itself.
func crc32cWithout(crc uint32, data []byte, offset, length int) uint32 {
	crc = CRC32C(crc, data[:offset])
	crc = CRC32C(crc, make([]byte, length))
	return CRC32C(crc, data[offset+length:])
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

// Checksums computes the checksums of one file system (fs/ext4, "metadata_csum" and "uninit_bg").
// Without these features there are none, and all are 0. Each result is independent of the checksum
// that the structure holds.
type Checksums struct {
	Features ROCompat
	UUID     [16]byte
	// Seed starts each checksum of ROCompatMetadataCsum except the superblock's: that of the UUID, or
	// SuperBlock.ChecksumSeed.
	Seed uint32
}

// SeedOf returns the seed of a file system without IncompatCsumSeed.
func SeedOf(id [16]byte) uint32 { return CRC32C(^uint32(0), id[:]) }

// Metadata reports whether everything except data has a checksum.
func (c Checksums) Metadata() bool { return c.Features&ROCompatMetadataCsum != 0 }

// Groups reports whether group descriptors have a checksum.
func (c Checksums) Groups() bool { return c.Features&(ROCompatMetadataCsum|ROCompatGDTCsum) != 0 }

// SuperBlock returns the checksum of an encoded superblock.
func (c Checksums) SuperBlock(block []byte) uint32 {
	if !c.Metadata() {
		return 0
	}
	return CRC32C(^uint32(0), block[:SuperBlockChecksummed])
}

// GroupDesc returns the checksum of an encoded descriptor.
func (c Checksums) GroupDesc(group uint32, desc []byte) uint16 {
	const size = 2
	switch {
	case c.Metadata():
		return uint16(crc32cWithout(CRC32C(c.Seed, le.AppendUint32(nil, group)), desc, GroupDescChecksumOffset, size))
	case c.Groups():
		crc := crc16(^uint16(0), c.UUID[:])
		crc = crc16(crc, le.AppendUint32(nil, group))
		crc = crc16(crc, desc[:GroupDescChecksumOffset])
		return crc16(crc, desc[GroupDescChecksumOffset+size:])
	}
	return 0
}

// Bitmap returns the checksum of a bitmap without its padding.
func (c Checksums) Bitmap(bits []byte) uint32 {
	if !c.Metadata() {
		return 0
	}
	return CRC32C(c.Seed, bits)
}

// Inode returns the checksum of an encoded inode of any size. An inode without the field ChecksumHi
// holds the lower half only.
func (c Checksums) Inode(number, generation uint32, inode []byte) uint32 {
	const size = 2
	if !c.Metadata() {
		return 0
	}
	crc := crc32cWithout(c.inodeSeed(number, generation), inode[:InodeOldSize], InodeChecksumLoOffset, size)
	rest := inode[InodeOldSize:]
	if !HasChecksumHi(inode) {
		return CRC32C(crc, rest)
	}
	return crc32cWithout(crc, rest, InodeChecksumHiOffset-InodeOldSize, size)
}

// HasChecksumHi reports whether an encoded inode uses the field ChecksumHi (EXT4_FITS_IN_INODE).
func HasChecksumHi(inode []byte) bool {
	const end = InodeChecksumHiOffset + 2 - InodeOldSize
	return len(inode) > InodeOldSize && le.Uint16(inode[InodeOldSize:]) >= end
}

// InodeBlock returns the checksum of a part of a block that belongs to an inode: an extent node up
// to its tail, the entries of a directory.
func (c Checksums) InodeBlock(number, generation uint32, part []byte) uint32 {
	if !c.Metadata() {
		return 0
	}
	return CRC32C(c.inodeSeed(number, generation), part)
}

// IndexBlock returns the checksum of an index block of a directory: of its used part, and of its
// tail as zeros.
func (c Checksums) IndexBlock(number, generation uint32, used []byte) uint32 {
	if !c.Metadata() {
		return 0
	}
	return CRC32C(CRC32C(c.inodeSeed(number, generation), used), make([]byte, DxTailSize))
}

// inodeSeed returns what each checksum of an inode and of its blocks starts from.
func (c Checksums) inodeSeed(number, generation uint32) uint32 {
	return CRC32C(c.Seed, le.AppendUint32(le.AppendUint32(nil, number), generation))
}

// XattrBlock returns the checksum of an attribute block.
func (c Checksums) XattrBlock(number uint64, block []byte) uint32 {
	const size = 4
	if !c.Metadata() {
		return 0
	}
	return crc32cWithout(CRC32C(c.Seed, le.AppendUint64(nil, number)), block, XattrChecksumOffset, size)
}

// OrphanBlock returns the checksum of a block of the orphan file, without its tail.
func (c Checksums) OrphanBlock(inode, generation uint32, number uint64, entries []byte) uint32 {
	if !c.Metadata() {
		return 0
	}
	return CRC32C(c.inodeSeed(inode, generation), append(le.AppendUint64(nil, number), entries...))
}
