// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenRegular opens a regular file for reading, following symbolic links. Anything else is an error
// without delay: opening a named pipe would wait for a writer, and the owner of a directory may
// have put one there.
func OpenRegular(name string) (*os.File, error) {
	return openChecked(name, "a regular file", func(mode fs.FileMode) bool { return mode.IsRegular() })
}

// OpenImage opens a disk image for reading: a regular file or a block device.
func OpenImage(name string) (*os.File, error) {
	return openChecked(name, "a regular file or a block device", func(mode fs.FileMode) bool {
		return mode.IsRegular() || mode.Type() == fs.ModeDevice
	})
}

func openChecked(name, what string, wanted func(fs.FileMode) bool) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !wanted(info.Mode()) {
		err = fmt.Errorf("open %s: it is %s, not %s", name, kindOf(info.Mode()), what)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ReadRegular returns the content of a regular file.
func ReadRegular(name string) ([]byte, error) {
	f, err := OpenRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// CancelReaderAt returns a reader that fails once ctx is done, so that a program can stop reading a
// damaged image, or one that was built to keep a reader busy for days.
func CancelReaderAt(ctx context.Context, r io.ReaderAt) io.ReaderAt { return cancelReaderAt{ctx, r} }

type cancelReaderAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (c cancelReaderAt) ReadAt(p []byte, offset int64) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.ReadAt(p, offset)
}
