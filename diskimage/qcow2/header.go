// SPDX-License-Identifier: Apache-2.0

package qcow2

import (
	"bytes"
	"encoding/binary"
)

// Constants of the format, see docs/interop/qcow2.rst of QEMU.
const (
	magic   = 'Q'<<24 | 'F'<<16 | 'I'<<8 | 0xfb
	version = 3

	headerLength = 112 // of the struct header

	// refcountOrder 4 means 16-bit reference counts.
	refcountOrder = 4
	refcountSize  = 2

	// featureCompression is the incompatible feature bit for a compressionType other than zlib.
	featureCompression = 3

	compressionZlib = 0
	compressionZstd = 1

	// extensionFeatureNames is the header extension with names of features, for readers that do not
	// know them.
	extensionFeatureNames = 0x6803f857
	featureIncompatible   = 0

	entrySize = 8 // of the L1, L2 and refcount tables
	// flagCopied is set in entries of clusters with exactly one reference.
	flagCopied = 1 << 63
	// flagCompressed is set in L2 entries of compressed clusters.
	flagCompressed = 1 << 62
	// compressedSector is the unit of the length of a compressed cluster.
	compressedSector = 512

	// Limits of QEMU (block/qcow2.h: QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE), in bytes.
	maxL1Size            = 32 << 20
	maxRefcountTableSize = 8 << 20
)

// header is the start of the file. All numbers are big-endian.
type header struct {
	Magic                 uint32  // 0
	Version               uint32  // 4
	BackingFileOffset     uint64  // 8: 0, none
	BackingFileSize       uint32  // 16
	ClusterBits           uint32  // 20
	Size                  uint64  // 24: of the disk, in bytes
	CryptMethod           uint32  // 32: 0, none
	L1Size                uint32  // 36: number of entries
	L1TableOffset         uint64  // 40
	RefcountTableOffset   uint64  // 48
	RefcountTableClusters uint32  // 56
	Snapshots             uint32  // 60
	SnapshotsOffset       uint64  // 64
	IncompatibleFeatures  uint64  // 72
	CompatibleFeatures    uint64  // 80
	AutoclearFeatures     uint64  // 88
	RefcountOrder         uint32  // 96
	HeaderLength          uint32  // 100
	CompressionType       uint8   // 104
	_                     [7]byte // 105
}

// featureName is an entry of the extension extensionFeatureNames.
type featureName struct {
	Type uint8    // 0
	Bit  uint8    // 1
	Name [46]byte // 2
}

// encode returns the bytes of the header and its extensions, including the end mark.
func (h header) encode() []byte {
	var b bytes.Buffer
	parts := []any{h}
	if h.IncompatibleFeatures != 0 {
		name := featureName{Type: featureIncompatible, Bit: featureCompression}
		copy(name.Name[:], "compression type")
		parts = append(parts, uint32(extensionFeatureNames), uint32(binary.Size(name)), name)
	}
	parts = append(parts, uint64(0)) // end of extensions: type 0, length 0
	for _, part := range parts {
		if err := binary.Write(&b, binary.BigEndian, part); err != nil {
			panic("BUG: encode qcow2 header: " + err.Error())
		}
	}
	return b.Bytes()
}
