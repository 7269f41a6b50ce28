// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Copy makes a file of its own below dir of a cached file: a program that writes to it does not change the
// cache, as it would through a hard link. On a file system that can share blocks (btrfs, xfs) no data is
// copied. The copy itself is held against the digest; if it has another one, or the cache lacks the file, the
// error is an fs.ErrNotExist, name is not made, and a damaged file is gone from the cache. name must not
// exist.
func (c *Cache) Copy(ctx context.Context, digest string, dir *os.Root, name string) (err error) {
	if !validDigest(digest) {
		return fmt.Errorf("cache: %q is no SHA256 digest", digest)
	}
	src, err := os.Open(c.Path(digest))
	if err != nil {
		return fmt.Errorf("cache: copy %s: %w", digest, err)
	}
	defer src.Close()
	dst, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cache: copy %s: %w", digest, err)
	}
	defer func() {
		if err = errors.Join(err, dst.Close()); err != nil {
			err = fmt.Errorf("cache: copy %s: %w", digest, errors.Join(err, dir.Remove(name)))
		}
	}()
	var got string
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		got, err = sum(ctx, dst, io.Discard)
	} else {
		got, err = sum(ctx, src, dst)
	}
	if err != nil {
		return err
	}
	if got != digest {
		return errors.Join(fmt.Errorf("its digest is %s: %w", got, fs.ErrNotExist), c.remove(digest))
	}
	return nil
}

// remove takes a damaged file out of the cache.
func (c *Cache) remove(digest string) error {
	if err := os.Remove(c.Path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove damaged file: %w", err)
	}
	return nil
}
