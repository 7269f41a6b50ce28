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

// The kinds of what is derived from packages.
const (
	// RepackedKind are copies of packages that take less time to decompress.
	RepackedKind = "repacked"
	// ModulesKind are indexes of a kernel's modules, see package depmod.
	ModulesKind = "modules"
	// ChosenKind are the names of the packages that apt has chosen, one on each line. They are derived from a request.
	ChosenKind = "chosen"
)

// derivedName is the file that holds the digest of what is derived.
func (c *Cache) derivedName(kind, key string) string { return filepath.Join(c.dir, kind, key[:2], key) }

// Derived returns the digest of the file of a kind that AddDerived has kept, or "" if there is none. The key is the
// digest of what it is derived from.
func (c *Cache) Derived(kind, key string) string {
	if !validDigest(key) {
		return ""
	}
	text, err := os.ReadFile(c.derivedName(kind, key))
	if err != nil || !validDigest(string(text)) {
		return ""
	}
	return string(text)
}

// AddDerived adds a file that is derived from others of the cache, and returns its digest.
func (c *Cache) AddDerived(
	ctx context.Context, kind, key string, write func(io.Writer) error,
) (digest string, err error) {
	if !validDigest(key) {
		return "", fmt.Errorf("cache: %q is not a SHA256 digest", key)
	}
	tmp, err := c.create()
	if err != nil {
		return "", err
	}
	defer tmp.discard()
	w := bufio.NewWriter(tmp)
	if err := errors.Join(write(w), w.Flush()); err != nil {
		return "", fmt.Errorf("cache: %s of %s: %w", kind, key, err)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if digest, err = sum(ctx, tmp, io.Discard); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := tmp.keep(digest); err != nil {
		return "", err
	}
	return digest, c.noteDerived(kind, key, digest)
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
	return c.AddDerived(ctx, RepackedKind, digest, func(w io.Writer) error {
		return guard.Parse(func() error { return debfile.Repack(w, deb) })
	})
}

// noteDerived writes the digest of what is derived.
func (c *Cache) noteDerived(kind, key, digest string) error {
	name := c.derivedName(kind, key)
	if err := os.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	tmp, err := c.create()
	if err != nil {
		return err
	}
	defer tmp.discard()
	if _, err := tmp.WriteString(digest); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}
