// SPDX-License-Identifier: Apache-2.0

package rawimage

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// cloneAlignment is sufficient for all file systems that share blocks, whose blocks are not
	// larger.
	cloneAlignment = 4 << 10
	// cloneSize is the minimum length of a shared range: below it, the system call takes longer
	// than the copy (measured on xfs: thresholds of 64 KiB, 16 KiB, 4 KiB took 0.26, 0.37, 0.53 s
	// for a Debian system).
	cloneSize = 64 << 10
	// holeSize is the minimum length of a sequence of zeros that is left out of the output.
	holeSize = 64 << 10
)

// Copier copies ranges of an image to other offsets in another file. On file systems that can share
// blocks (btrfs, xfs) it shares ranges that are aligned in both files, so that data is neither
// copied nor stored twice.
type Copier struct {
	image   *Image
	dst     *os.File
	noClone bool
}

// NewCopier returns a copier to dst, which must be empty, so that ranges that are left out are
// zeros.
func NewCopier(m *Image, dst *os.File) (*Copier, error) {
	if err := CheckEmpty(dst); err != nil {
		return nil, err
	}
	return &Copier{image: m, dst: dst}, nil
}

// CheckEmpty returns an error if the output is not empty, because ranges that are not written must
// be zeros.
func CheckEmpty(dst interface{ Stat() (fs.FileInfo, error) }) error {
	info, err := dst.Stat()
	if err != nil {
		return fmt.Errorf("examine output file: %w", err)
	}
	if info.Size() != 0 {
		return fmt.Errorf("the output file is not empty: it has %d bytes", info.Size())
	}
	return nil
}

// Copy copies data, which has been read from the image at offset from, to offset to of the output,
// without long sequences of zeros. The caller adds zeros at the end of the output with Truncate.
func (c *Copier) Copy(data []byte, from, to int64) error {
	for first := 0; first < len(data); {
		end := min(first+holeSize, len(data))
		if IsZero(data[first:end]) {
			first = end
			continue
		}
		for end < len(data) {
			next := min(end+holeSize, len(data))
			if IsZero(data[end:next]) {
				break
			}
			end = next
		}
		if err := c.copyRange(data[first:end], from+int64(first), to+int64(first)); err != nil {
			return err
		}
		first = end
	}
	return nil
}

// copyRange copies all of data.
func (c *Copier) copyRange(data []byte, from, to int64) error {
	if c.clone(int64(len(data)), from, to) {
		return nil
	}
	if _, err := c.dst.WriteAt(data, to); err != nil {
		return fmt.Errorf("write %d bytes of the disk's content at offset %d: %w", len(data), to, err)
	}
	return nil
}

// clone shares a range and reports whether that succeeded. After the first failure there are no
// more attempts; copying reports the error if it applies there as well.
func (c *Copier) clone(length, from, to int64) bool {
	if c.noClone || length < cloneSize || (length|from|to)&(cloneAlignment-1) != 0 || from+length > c.image.length {
		return false
	}
	err := unix.IoctlFileCloneRange(int(c.dst.Fd()), &unix.FileCloneRange{
		Src_fd:      int64(c.image.file.Fd()),
		Src_offset:  uint64(from),
		Src_length:  uint64(length),
		Dest_offset: uint64(to),
	})
	c.noClone = err != nil
	return err == nil
}

var zeros [4 << 10]byte

// IsZero reports whether b is all zeros.
func IsZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
