// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
)

// parameters are the requested properties, except size and tree.
type parameters struct {
	label [disk.LabelUnits]uint16
	uuid  uuid.UUID
	time  stamp
	// version is the version of the checkpoint, odd because the checkpoint is in the first pack.
	// mkfs.f2fs chooses a random number, so that the remains of an older file system are not
	// mistaken for a part of this one.
	version uint64
	// start is the offset of the partition on the disk in bytes. Segments are aligned to their size
	// on the disk.
	start      diskimage.Size
	sectorSize diskimage.Size
}

func newParameters(fs diskimage.Filesystem) (parameters, error) {
	if fs.Type != Type {
		return parameters{}, fmt.Errorf("file system type %q is not %s", fs.Type, Type)
	}
	p := parameters{
		uuid:       fs.UUID,
		time:       newStamp(fs.Time),
		version:    uint64(binary.LittleEndian.Uint32(fs.Seed[:])>>1 | 1),
		sectorSize: max(fs.SectorSize, diskimage.SectorSize),
	}
	p.start = diskimage.Size(fs.StartLBA) * p.sectorSize
	if p.start%disk.BlockSize != 0 {
		p.start = 0 // no alignment is possible then
	}
	units := utf16.Encode([]rune(fs.Label))
	if len(units) > disk.LabelUnits || !utf8.ValidString(fs.Label) || strings.ContainsRune(fs.Label, 0) {
		return parameters{}, fmt.Errorf("label %q of %s: want at most %d units of UTF-16 other than NUL",
			fs.Label, Type, disk.LabelUnits)
	}
	copy(p.label[:], units)
	return p, nil
}

// stamp is a time in the form of an inode.
type stamp struct {
	seconds     int64
	nanoseconds uint32
}

// newStamp converts a time; an inode can hold every time. The zero time.Time, which means
// "unknown", becomes 1970.
func newStamp(t time.Time) stamp {
	if t.IsZero() {
		return stamp{}
	}
	return stamp{t.Unix(), uint32(t.Nanosecond())}
}
