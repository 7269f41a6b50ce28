// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// repackedName is the file that holds the digest of the repacked copy of a package.
func (c *Cache) repackedName(digest string) string {
	return filepath.Join(c.dir, "repacked", digest[:2], digest)
}

// Repacked returns the digest of the copy of a package that Repack has made, or "" if there is none.
func (c *Cache) Repacked(digest string) string {
	if !validDigest(digest) {
		return ""
	}
	text, err := os.ReadFile(c.repackedName(digest))
	if err != nil || !validDigest(string(text)) {
		return ""
	}
	return string(text)
}

// Repack adds a copy of a cached package to the cache that takes less time to decompress, and returns its digest. The
// package itself is verified first, so that the copy has what the archive's signed index promises. A package that
// is not compressed with xz needs no copy: the digest is "".
func (c *Cache) Repack(ctx context.Context, digest string) (repacked string, err error) {
	if ok, err := c.Verify(ctx, digest); !ok || err != nil {
		return "", err
	}
	deb, err := os.Open(c.Path(digest))
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer deb.Close()
	if xz, err := debfile.DataIsXZ(deb); !xz || err != nil {
		return "", err
	}
	tmp, err := c.create()
	if err != nil {
		return "", err
	}
	defer tmp.discard()
	w := bufio.NewWriter(tmp)
	err = guard.Parse(func() error { return debfile.Repack(w, deb) })
	if err = errors.Join(err, w.Flush()); err != nil {
		return "", fmt.Errorf("cache: repack %s: %w", digest, err)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if repacked, err = sum(ctx, tmp, io.Discard); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := tmp.keep(repacked); err != nil {
		return "", err
	}
	return repacked, c.noteRepacked(digest, repacked)
}

// noteRepacked writes the digest of a repacked copy.
func (c *Cache) noteRepacked(digest, repacked string) error {
	name := c.repackedName(digest)
	if err := os.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	tmp, err := c.create()
	if err != nil {
		return err
	}
	defer tmp.discard()
	if _, err := tmp.WriteString(repacked); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}
