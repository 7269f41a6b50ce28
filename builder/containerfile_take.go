// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/containerfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// takeContext copies what COPY and ADD name of the directory of a Containerfile, which the option flag names.
func (t taker) takeContext(ctx context.Context, flag string, f evaluatedFile) error {
	if _, done := t.digests[f.name]; done {
		return nil
	}
	if _, err := t.take(ctx, flag, f.name, true); err != nil {
		return err
	}
	dir := filepath.Dir(f.name)
	context, err := containerfile.OpenContext(dir, f.name)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	for _, stage := range f.needed() {
		for _, i := range f.stages[stage].Instructions {
			if err := t.takeInstruction(ctx, flag, f, context, i); err != nil {
				return fmt.Errorf("%s: %w", flag,
					&containerfile.Error{File: f.name, Line: i.Line, Err: fmt.Errorf("%s: %w", i.Name(), err)})
			}
		}
	}
	return nil
}

// takeInstruction copies what an instruction names of the directory of its Containerfile.
func (t taker) takeInstruction(ctx context.Context, flag string, f evaluatedFile, dir *containerfile.Context,
	i containerfile.Instruction) error {
	take := func(id, pattern string, exclude []string, unpack bool) error {
		found, err := dir.Find(pattern, exclude)
		if err != nil {
			return err
		}
		for _, m := range found {
			src, err := t.takeMatch(ctx, m, unpack)
			if err != nil {
				return err
			}
			t.lock.Inputs = append(t.lock.Inputs, Input{flag, m.Path, src.Digest})
			t.lock.Copied[id] = append(t.lock.Copied[id], src)
		}
		return nil
	}
	if i.Copy != nil && i.Copy.Stage < 0 {
		for _, pattern := range i.Copy.Sources {
			if containerfile.IsURL(pattern) {
				src, err := t.takeURL(ctx, pattern, *i.Copy)
				if err != nil {
					return err
				}
				t.lock.Inputs = append(t.lock.Inputs, Input{flag, pattern, src.Digest})
				t.lock.Copied[f.instructionID(i)] = append(t.lock.Copied[f.instructionID(i)], src)
				continue
			}
			if err := take(f.instructionID(i), pattern, i.Copy.Exclude, i.Copy.Unpack); err != nil {
				return err
			}
		}
	}
	for n, m := range i.Mounts() {
		if m.Type == containerfile.MountBind && m.Stage < 0 {
			if err := take(f.mountID(i, n), m.Source, nil, false); err != nil {
				return fmt.Errorf("--mount: %w", err)
			}
		}
	}
	return nil
}

// takeURL downloads a file. The server says when it was changed, and only root may read it, as with Docker.
func (t taker) takeURL(ctx context.Context, url string, c containerfile.Copy) (step.CopySource, error) {
	file, err := t.downloads.DownloadURL(ctx, url, c.SHA256)
	if err != nil {
		return step.CopySource{}, err
	}
	src := step.CopySource{Copy: t.next(), Name: cmp.Or(containerfile.URLName(url), path.Base(c.Destination)),
		Digest: file.SHA256, Time: file.ModTime.Unix()}
	if err := os.Mkdir(src.Copy, 0o700); err != nil {
		return src, err
	}
	dir, err := os.OpenRoot(src.Copy)
	if err != nil {
		return src, err
	}
	defer dir.Close()
	if err := errors.Join(t.downloads.Cache.Copy(ctx, file.SHA256, dir, src.Name), dir.Chmod(src.Name, 0o600),
		dir.Chtimes(src.Name, file.ModTime, file.ModTime)); err != nil {
		return src, err
	}
	return t.unpacked(ctx, src, c.UnpackURLs)
}

// takeMatch copies a file or directory. unpack is for tar archives.
func (t taker) takeMatch(ctx context.Context, m containerfile.Match, unpack bool) (step.CopySource, error) {
	src := step.CopySource{Copy: t.next()}
	if m.Dir {
		var err error
		src.Digest, err = takeTree(ctx, m.Path, src.Copy, m.Keep)
		return src, err
	}
	src.Name = m.Name
	if err := os.Mkdir(src.Copy, 0o700); err != nil {
		return src, err
	}
	file := filepath.Join(src.Copy, m.Name)
	var err error
	if src.Digest, err = takeTree(ctx, m.Path, file, nil); err != nil {
		return src, err
	}
	return t.unpacked(ctx, src, unpack)
}

// unpacked returns the source of what is in an archive, if a file is one and unpack says so.
func (t taker) unpacked(ctx context.Context, src step.CopySource, unpack bool) (step.CopySource, error) {
	if !unpack {
		return src, nil
	}
	plain, err := plainArchive(ctx, filepath.Join(src.Copy, src.Name), t.next())
	if err != nil || plain == "" {
		return src, err
	}
	src.Name, src.Copy, src.Archive = "", plain, true
	return src, nil
}

// plainArchive writes the uncompressed form of a tar archive to a file. It returns "" if it is no archive.
func plainArchive(ctx context.Context, name, to string) (plain string, err error) {
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	f, size, err := tarfile.Spool(ctx, in, filepath.Dir(to))
	if f != nil {
		defer f.Close()
	}
	if err != nil && ctx.Err() == nil {
		return "", nil // it begins like a compressed file and is none
	}
	if err != nil {
		return "", err
	}
	// As Docker decides: a damaged archive is one if its first member can be read.
	if _, err := tar.NewReader(io.NewSectionReader(f, 0, size)).Next(); err != nil {
		return "", nil //nolint:nilerr // no archive
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	return to, errors.Join(diskimage.CopyFile(ctx, out, f), out.Truncate(size), out.Close())
}
