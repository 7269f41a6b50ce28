// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// CopyFile copies the content of a file, for example of a file system that a program has made, to
// dst, whose bytes must all be zero, as for Volume.Write. Holes are not read. If dst is part of an
// open file (FileOf) on a file system that can share blocks between files, data is shared instead
// of copied. CopyFile changes the offset of src.
func CopyFile(ctx context.Context, dst io.WriterAt, src *os.File) error {
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	const most = 1 << 20
	buf := make([]byte, most)
	to, base, shared := FileOf(dst)
	for next := int64(0); ; {
		start, end, ok, err := image.NextData(next)
		if err != nil || !ok {
			return err
		}
		next = end
		if shared {
			clone := unix.FileCloneRange{
				Src_fd: int64(src.Fd()), Src_offset: uint64(start), Src_length: uint64(end - start),
				Dest_offset: uint64(base + start),
			}
			if shared = unix.IoctlFileCloneRange(to, &clone) == nil; shared {
				continue
			}
		}
		for at := start; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buf[:min(int64(len(buf)), end-at)]
			if _, err := src.ReadAt(part, at); err != nil {
				return fmt.Errorf("read %s at %d: %w", src.Name(), at, err)
			}
			if _, err := dst.WriteAt(part, at); err != nil {
				return err
			}
			at += int64(len(part))
		}
	}
}

// DataRanges returns the ranges of a regular file that are not holes, all of it if Data is nil.
func (e Entry) DataRanges() []Extent {
	if e.Data == nil && e.Size > 0 {
		return []Extent{{Length: e.Size}}
	}
	return e.Data
}

// CopyContent copies the content of a regular file of a Tree to dst, which must be empty. Its holes
// become holes.
func CopyContent(ctx context.Context, dst *os.File, e Entry) (err error) {
	if e.Open == nil {
		return nil
	}
	content, err := e.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if err := dst.Truncate(e.Size); err != nil {
		return err
	}
	src := CancelReaderAt(ctx, content)
	for _, r := range e.DataRanges() {
		n, err := io.Copy(io.NewOffsetWriter(dst, r.Offset), io.NewSectionReader(src, r.Offset, r.Length))
		if err == nil && n < r.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("copy %q: %w", e.Name, err)
		}
	}
	return nil
}
