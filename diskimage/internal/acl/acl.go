// Package acl converts POSIX access control lists to the form in which ext4 and f2fs keep them.
package acl

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Versions of lists: on the disk, and as getxattr(2) gives them.
const (
	VersionDisk  = 1
	VersionXattr = 2
)

// Disk converts a list from the form of getxattr(2) (include/uapi/linux/posix_acl_xattr.h) to the one on the disk
// (fs/ext4/acl.h, fs/f2fs/acl.h), which leaves out the ID of entries that have none.
func Disk(value []byte) ([]byte, error) {
	const (
		headerSize = 4
		entrySize  = 8 // tag and permissions, two bytes each; ID, four
		shortSize  = 4
		tagUser    = 0x02
		tagGroup   = 0x08
	)
	le := binary.LittleEndian
	if len(value) < headerSize || le.Uint32(value) != VersionXattr || (len(value)-headerSize)%entrySize != 0 {
		return nil, fmt.Errorf("%d bytes that are not an access control list of version %d", len(value), VersionXattr)
	}
	acl := le.AppendUint32(nil, VersionDisk)
	for entry := range slices.Chunk(value[headerSize:], entrySize) {
		length := shortSize
		if tag := le.Uint16(entry); tag == tagUser || tag == tagGroup {
			length = entrySize
		}
		acl = append(acl, entry[:length]...)
	}
	return acl, nil
}
