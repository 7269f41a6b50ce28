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

// Unpack makes a directory of a tar archive, with the owners, modes, times and extended attributes that it
// records, as they look from here: the files of ids other than 0 belong to subordinate ids of the caller, and
// where there are none, they are the caller's and have notes. dir must not exist. It gets its name when it is
// complete; until then it has a hidden random one, and what a killed build leaves of it is removed by the
// next.
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
	untar := func(r io.Reader) error { return archive.Untar(contextReader{ctx, r}, partial, &archive.TarOptions{}) }
	if s.options.Place.SingleID() {
		err = withNotes(r, untar)
	} else {
		err = untar(r)
	}
	if err != nil {
		return err
	}
	return os.Rename(partial, dir)
}

// partialMark is in the name of an unfinished directory, .NAME.vmdebootstrap-RANDOM, as it is in those of files, see
// diskimage.WriteFile.
const partialMark = ".vmdebootstrap-"

// makePartialDir makes a directory that is to get the name dir, locked by flock(2) while somebody works on
// it, and removes those that nobody works on any more.
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

// withNotes hands on a tar archive in which the owners are notes.
func withNotes(r io.Reader, unpack func(io.Reader) error) error {
	noted, writer := io.Pipe()
	var group errgroup.Group
	group.Go(func() error { return writer.CloseWithError(noteOwners(r, writer)) })
	err := unpack(noted)
	return errors.Join(err, noted.Close(), group.Wait())
}

// contextReader reads until the context is done.
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
