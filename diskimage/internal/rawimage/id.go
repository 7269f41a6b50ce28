// SPDX-License-Identifier: Apache-2.0

package rawimage

import (
	"strconv"

	"github.com/google/uuid"
)

// headLength is the length of the start of the disk that ID reads. It covers the identity in the
// partition table (the signature in sector 0, the GUID in sector 1), or in a file system on a disk
// without one.
const headLength = 64 << 10

// ID derives an identifier from the size and the first 64 KiB of the disk, which contain the random
// identifiers of partition tables and file systems. Equal disks have equal IDs, and different disks
// different ones.
func (m *Image) ID() (uuid.UUID, error) {
	head := make([]byte, headLength)
	if err := m.read(head, 0); err != nil {
		return uuid.Nil, err
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, strconv.AppendInt(head, m.Size(), 10)), nil
}

// GUID returns a UUID in Microsoft's byte order, in which the first three parts are little-endian.
func GUID(id uuid.UUID) [16]byte {
	return [16]byte{
		id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6],
		id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15],
	}
}
