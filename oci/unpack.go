// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
)

// Unpack unpacks a tar archive into the new directory dir, with the owners, modes, times and
// extended attributes that it records, as seen from inside: files of IDs other than 0 belong to
// subordinate IDs of the caller; where there are none, they belong to the caller and have owner
// xattrs. dir must not exist. It gets its name when it is complete; until then it has a hidden
// random name. The next call removes what a killed build left of it.
func (s *Store) Unpack(ctx context.Context, r io.Reader, dir string) (err error) {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpack to %s: %w", dir, errors.Join(err, os.ErrExist))
	}
	partial, lock, err := makePartialDir(dir)
	if err != nil {
		return fmt.Errorf("unpack to %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack to %s: %w", dir, errors.Join(err, os.RemoveAll(partial)))
		}
		err = errors.Join(err, dirfd.Unlock(lock))
	}()
	if err := s.untar(ctx, r, partial); err != nil {
		return err
	}
	return os.Rename(partial, dir)
}

// Unpack adds the files of a tar archive to a container that is empty, as Store.Unpack does to a
// directory.
func (c *Container) Unpack(ctx context.Context, r io.Reader) error {
	if err := c.engine.untar(ctx, r, c.root); err != nil {
		return fmt.Errorf("unpack into a container: %w", err)
	}
	return nil
}

// untar unpacks a tar archive into an existing directory.
func (s *Store) untar(ctx context.Context, r io.Reader, dir string) error {
	untar := func(r io.Reader) error { return archive.Untar(contextReader{ctx, r}, dir, &archive.TarOptions{}) }
	if s.options.Place.SingleID() {
		return withOwnerXattrs(r, untar)
	}
	return untar(r)
}

// partialMark is in the name of an unfinished directory, .NAME.vmdebootstrap-RANDOM, as in those of
// unfinished files, see diskimage.WriteFile.
const partialMark = ".vmdebootstrap-"

// makePartialDir creates a directory that will be renamed to dir, locked by flock(2) while it is
// being filled, and removes earlier ones that are not locked.
func makePartialDir(dir string) (name string, lock *os.File, err error) {
	const random = 26 // characters of rand.Text, which are those of base32
	base := filepath.Base(dir)
	prefix := "." + base[:min(len(base), unix.NAME_MAX-1-len(partialMark)-random)] + partialMark
	parent := filepath.Dir(dir)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return "", nil, err
	}
	for _, entry := range entries {
		rest, ok := strings.CutPrefix(entry.Name(), prefix)
		if !ok || !entry.IsDir() || len(rest) != random ||
			strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			continue
		}
		if err := dirfd.RemoveUnlocked(filepath.Join(parent, entry.Name())); err != nil {
			return "", nil, err
		}
	}
	return dirfd.MakeLocked(func() (string, error) {
		name := filepath.Join(parent, prefix+rand.Text())
		return name, os.Mkdir(name, rootMode)
	})
}

// withOwnerXattrs calls unpack with the archive r, in which owners are replaced by owner xattrs.
func withOwnerXattrs(r io.Reader, unpack func(io.Reader) error) error {
	converted, writer := io.Pipe()
	var group errgroup.Group
	group.Go(func() error { return writer.CloseWithError(ownersToXattrs(r, writer)) })
	err := unpack(converted)
	return errors.Join(err, converted.Close(), group.Wait())
}

// contextReader fails once its context is done.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
