// SPDX-License-Identifier: Apache-2.0

// Package rawimage reads raw disk images for the packages that write other formats: it finds what is not zero, has it
// encoded by several goroutines, hands it over in the order of the disk, and copies it without copying where the file
// system can share blocks.
//
// A raw image is what a disk holds, byte by byte. Holes of a sparse file are skipped without being read; zeros that are
// stored are found by reading. Both give the same runs, so that what is written depends on the content of the disk
// only, not on how the raw image came about.
package rawimage

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// SectorSize is the unit of the sizes of disks, in bytes.
const SectorSize = 512

// Image is a raw disk image: a regular file or a block device.
type Image struct {
	file   *os.File
	length int64 // of the file
}

// Open takes the image that an open file holds. The image moves the file's offset around; nothing may write to the file
// meanwhile. The file stays the caller's to close.
func Open(file *os.File) (*Image, error) {
	length, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find length of raw image: %w", err)
	}
	return &Image{file: file, length: length}, nil
}

// Size returns the size of the disk in bytes: the length of the file, rounded up to a whole number of sectors as QEMU does
// it. The rest of the last sector is zeros.
func (m *Image) Size() int64 { return RoundUp(m.length, SectorSize) }

// read fills b from the image. Behind the end of the file there are zeros.
func (m *Image) read(b []byte, offset int64) error {
	n := int(max(0, min(int64(len(b)), m.length-offset)))
	if done, err := m.file.ReadAt(b[:n], offset); done < n {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // it was longer when it was opened
		}
		return fmt.Errorf("read raw image at offset %d: %w", offset, err)
	}
	clear(b[n:])
	return nil
}

// NextData finds the first data at or behind offset: start and end of a range that is not a hole. At the end of the
// image ok is false.
func (m *Image) NextData(offset int64) (start, end int64, ok bool, err error) {
	if offset >= m.length {
		return 0, 0, false, nil
	}
	start, err = m.file.Seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, 0, false, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return offset, m.length, true, nil // no knowledge of holes: block devices, some network file systems
	case err != nil:
		return 0, 0, false, fmt.Errorf("look for data in raw image at offset %d: %w", offset, err)
	}
	end, err = m.file.Seek(start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, false, fmt.Errorf("look for hole in raw image at offset %d: %w", start, err)
	}
	return start, min(end, m.length), start < m.length, nil
}

// RoundUp returns the next multiple of unit, which is a power of two.
func RoundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }

// Blocks returns the number of blocks of unit bytes (a power of two) that n bytes need.
func Blocks(n, unit int64) int64 { return RoundUp(n, unit) / unit }
