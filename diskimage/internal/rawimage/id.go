// SPDX-License-Identifier: Apache-2.0

package rawimage

import (
	"strconv"

	"github.com/google/uuid"
)

// headLength is how much of the disk ID looks at: enough for the identity in the partition table (the signature in
// sector 0, the GUID in sector 1), and for a file system on a disk without one.
const headLength = 64 << 10

// ID makes an identifier from the size and the first 64 KiB of the disk, where partition tables and file systems
// have the random numbers that tell them apart: the same disk has the same ID, different disks have different ones.
func (m *Image) ID() (uuid.UUID, error) {
	head := make([]byte, headLength)
	if err := m.read(head, 0); err != nil {
		return uuid.Nil, err
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, strconv.AppendInt(head, m.Size(), 10)), nil
}

// GUID returns a UUID in the byte order of Microsoft: its first three parts are little-endian numbers.
func GUID(id uuid.UUID) [16]byte {
	return [16]byte{
		id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6],
		id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15],
	}
}
