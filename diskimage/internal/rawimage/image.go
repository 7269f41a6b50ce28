// SPDX-License-Identifier: Apache-2.0

// Package rawimage reads raw disk images for the packages that write other formats. It finds data
// that is not zero, lets several goroutines encode it, passes it on in the order of the disk, and
// copies it by sharing blocks where the file system supports that.
//
// A raw image is the content of a disk, byte by byte. Holes of a sparse file are skipped; stored
// zeros are detected by reading. Both lead to the same runs, so that the output depends only on the
// content of the disk, not on how the raw image is stored.
package rawimage

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// SectorSize is the unit of disk sizes, in bytes.
const SectorSize = 512

// Image is a raw disk image: a regular file or a block device.
type Image struct {
	file   *os.File
	length int64 // of the file
}

// Open returns the image in an open file. The image changes the file's offset, and nothing may
// write to the file meanwhile. The caller closes the file.
func Open(file *os.File) (*Image, error) {
	length, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find length of raw image: %w", err)
	}
	return &Image{file: file, length: length}, nil
}

// Size returns the size of the disk in bytes: the length of the file, rounded up to whole sectors
// as in QEMU. The rest of the last sector is zeros.
func (m *Image) Size() int64 { return RoundUp(m.length, SectorSize) }

// read fills b from the image, with zeros after the end of the file.
func (m *Image) read(b []byte, offset int64) error {
	n := int(max(0, min(int64(len(b)), m.length-offset)))
	if done, err := m.file.ReadAt(b[:n], offset); done < n {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the file was longer when it was opened
		}
		return fmt.Errorf("read raw image at offset %d: %w", offset, err)
	}
	clear(b[n:])
	return nil
}

// NextData returns the first range at or after offset that is not a hole. ok is false if there is
// none.
func (m *Image) NextData(offset int64) (start, end int64, ok bool, err error) {
	if offset >= m.length {
		return 0, 0, false, nil
	}
	start, err = m.file.Seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, 0, false, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return offset, m.length, true, nil // holes are unknown: block devices, some network file systems
	case err != nil:
		return 0, 0, false, fmt.Errorf("find data in %s at offset %d: %w", m.file.Name(), offset, err)
	}
	end, err = m.file.Seek(start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, false, fmt.Errorf("find hole in %s at offset %d: %w", m.file.Name(), start, err)
	}
	return start, min(end, m.length), start < m.length, nil
}

// RoundUp returns the next multiple of unit, which is a power of two.
func RoundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }

// Blocks returns the number of blocks of unit bytes (a power of two) that n bytes need.
func Blocks(n, unit int64) int64 { return RoundUp(n, unit) / unit }
