// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// ReadFiles reads regular files of a .deb into memory, by names like "usr/bin/extlinux". Missing files are left out.
func ReadFiles(ctx context.Context, deb string, names ...string) (files map[string][]byte, err error) {
	return readFrom(ctx, deb, OpenData, names)
}

// ReadControl reads the control file of a .deb: the fields that describe the package.
func ReadControl(ctx context.Context, deb string) ([]byte, error) {
	const control = "control"
	files, err := readFrom(ctx, deb, OpenControl, []string{control})
	if err == nil && files[control] == nil {
		err = fmt.Errorf("read package %s: it has no control file", deb)
	}
	return files[control], err
}

// readFrom reads files of the member that open returns.
func readFrom(ctx context.Context, deb string, open func(io.Reader) (io.ReadCloser, error), names []string) (
	files map[string][]byte, err error) {
	f, err := diskimage.OpenRegular(deb)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer func() {
		if err != nil {
			err = fmt.Errorf("read package %s: %w", deb, err)
		}
	}()
	err = guard.Parse(func() (err error) {
		files, err = readFiles(ctx, f, open, names)
		return err
	})
	return files, err
}

// Check reads all of a .deb's data archive, and returns an error if it is damaged or if this is no .deb.
func Check(ctx context.Context, deb io.Reader) error {
	return guard.Parse(func() error {
		_, err := readFiles(ctx, deb, OpenData, []string{"/"}) // no name of a file, so that all are read
		return err
	})
}

// readFiles is readFrom for an open .deb.
func readFiles(ctx context.Context, deb io.Reader, open func(io.Reader) (io.ReadCloser, error), names []string) (
	map[string][]byte, error) {
	plain, err := open(deb)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	files := map[string][]byte{}
	for t := tar.NewReader(plain); len(files) < len(wanted); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		if !wanted[name] || header.Typeflag != tar.TypeReg {
			continue
		}
		if files[name], err = io.ReadAll(t); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
	}
	return files, nil
}
