// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Spool puts the plain form of r into a file without a name in the directory dir, which is gone when it is closed, and
// gives its length. An archive must be there as a whole before its members can be read in any order. After an error of
// r the file holds what came before it, and is given with the error; the caller closes it in either case unless it is
// nil.
func Spool(ctx context.Context, r io.Reader, dir string) (f *os.File, size int64, err error) {
	plain, err := Decompress(r)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	if f, err = unnamed(dir); err != nil {
		return nil, 0, err
	}
	size, err = io.CopyBuffer(onlyWriter{f}, withContext{ctx, plain}, make([]byte, bufferSize))
	return f, size, err
}

// unnamed makes a file that has no name, or none for long where the file system does not know such files.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
	}
	f, err := os.CreateTemp(dir, ".vmdebootstrap-")
	if err != nil {
		return nil, fmt.Errorf("make a file for what is decompressed: %w", err)
	}
	return f, os.Remove(f.Name())
}

// onlyWriter hides that a file could read by itself from its source, in pieces of its own choice.
type onlyWriter struct{ io.Writer }

// withContext is a reader that ends with a context.
type withContext struct {
	ctx context.Context
	r   io.Reader
}

func (c withContext) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
