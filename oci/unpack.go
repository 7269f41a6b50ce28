package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sync/errgroup"
)

// Unpack makes a directory of a tar archive, with the owners, modes, times and extended attributes that it records, as they
// look from here: the files of ids other than 0 belong to subordinate ids of the caller, and where there are none, they
// are the caller's and have notes. dir must not exist. It gets its name when it is complete; until then it is called
// dir.partial, which a killed build leaves.
func (e *Engine) Unpack(ctx context.Context, r io.Reader, dir string) (err error) {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpack to %s: %w", dir, errors.Join(err, os.ErrExist))
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.Mkdir(partial, rootMode); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack to %s: %w", dir, errors.Join(err, os.RemoveAll(partial)))
		}
	}()
	untar := func(r io.Reader) error { return archive.Untar(contextReader{ctx, r}, partial, &archive.TarOptions{}) }
	if isolation == IsolationSingle {
		err = withNotes(r, untar)
	} else {
		err = untar(r)
	}
	if err != nil {
		return err
	}
	return os.Rename(partial, dir)
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
