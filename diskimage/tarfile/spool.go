// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Spool writes the uncompressed form of r to an unnamed file in the directory dir, and returns the
// file and its length. The file is removed when it is closed. The members of an archive can be read
// in any order only if all of it is available. After an error of r, Spool returns the file with the
// data before the error; the caller always closes a file that is not nil.
func Spool(ctx context.Context, r io.Reader, dir string) (f *os.File, size int64, err error) {
	plain, err := Decompress(r)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	if f, err = diskimage.TemporaryFile(dir); err != nil {
		return nil, 0, fmt.Errorf("make a temporary file for the uncompressed archive: %w", err)
	}
	size, err = io.CopyBuffer(onlyWriter{f}, withContext{ctx, plain}, make([]byte, bufferSize))
	return f, size, err
}

// onlyWriter hides ReadFrom of a file, which would read its source in pieces of a size of its own.
type onlyWriter struct{ io.Writer }

// withContext is a reader that fails once a context is done.
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
