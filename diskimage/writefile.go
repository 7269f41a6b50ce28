// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxLinks is the maximum number of symbolic links that WriteFile follows, which is the kernel's.
const maxLinks = 40

// WriteFile creates the file name with the given permissions, less the umask, and the content that
// write writes. The file gets its name only when it is complete and on disk (after an fsync of this
// file); until then an older file of that name stays. After an error or a cancelled ctx nothing is
// left behind, and where the file system has O_TMPFILE not even after a kill. Otherwise the
// unfinished file has a hidden random name; the next build removes what a killed build has left.
//
// WriteFile follows a symbolic link and replaces the file to which it leads. A target that exists
// and is not a regular file, such as a directory or a device, is an error.
func WriteFile(ctx context.Context, name string, mode fs.FileMode, write func(*os.File) error) error {
	return writeFiles(ctx, []string{name}, mode, func(files []*os.File) error { return write(files[0]) }, createUnnamed)
}

// WriteFiles is WriteFile for files that belong together: none of them gets its name before all are
// complete. write receives the files in the order of names.
func WriteFiles(ctx context.Context, names []string, mode fs.FileMode, write func([]*os.File) error) error {
	return writeFiles(ctx, names, mode, write, createUnnamed)
}

// writeFiles is WriteFiles with the function that creates a file without a name.
func writeFiles(ctx context.Context, names []string, mode fs.FileMode, write func([]*os.File) error,
	create func(dir string, mode fs.FileMode) (*os.File, error),
) (err error) {
	outputs := make([]*output, 0, len(names))
	defer func() {
		for _, o := range outputs {
			err = errors.Join(err, o.close(err != nil))
		}
	}()
	files := make([]*os.File, 0, len(names))
	for _, name := range names {
		o, err := newOutput(name, mode.Perm(), create)
		if err != nil {
			return err
		}
		outputs, files = append(outputs, o), append(files, o.file)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := write(files); err != nil {
		return describeFull(err, outputs[0].target)
	}
	for _, o := range outputs {
		if err := o.file.Sync(); err != nil {
			return describeFull(err, o.target)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, o := range outputs {
		if err := o.publish(); err != nil {
			return describeFull(err, o.target)
		}
	}
	return nil
}

// output is a file that does not have its final name yet.
type output struct {
	target    string
	file      *os.File
	partial   string // its temporary name, if it has one
	published bool
}

// newOutput creates an empty file for a name.
func newOutput(name string, mode fs.FileMode, create func(dir string, mode fs.FileMode) (*os.File, error)) (*output,
	error) {
	target, err := resolveTarget(name)
	if err != nil {
		return nil, err
	}
	o := &output{target: target}
	o.file, err = create(filepath.Dir(target), mode)
	if errors.Is(err, errors.ErrUnsupported) {
		if o.file, err = createPartial(target, mode); err == nil {
			o.partial = o.file.Name()
		}
	}
	if err != nil {
		return nil, describeFull(err, target)
	}
	return o, nil
}

// publish moves the file to its final name.
func (o *output) publish() (err error) {
	if o.partial == "" {
		err = linkUnnamed(o.file, o.target)
	} else {
		err = os.Rename(o.partial, o.target)
	}
	o.published = err == nil
	return err
}

// close closes the file. If the write has failed, it removes what is left of it.
func (o *output) close(failed bool) error {
	err := describeFull(o.file.Close(), o.target)
	if !failed {
		return err
	}
	switch {
	case o.published:
		err = errors.Join(err, os.Remove(o.target))
	case o.partial != "":
		err = errors.Join(err, os.Remove(o.partial))
	}
	return err
}

// resolveTarget follows symbolic links and checks that the target may be replaced.
func resolveTarget(name string) (string, error) {
	target := name
	for range maxLinks {
		info, err := os.Lstat(target)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return target, nil
		case err != nil:
			return "", err
		case info.Mode().IsRegular():
			return target, nil
		case info.Mode().Type() != fs.ModeSymlink:
			return "", fmt.Errorf("write %q: it is %s, not a regular file", name, kindOf(info.Mode()))
		}
		link, err := os.Readlink(target)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(target), link)
		}
		target = link
	}
	return "", fmt.Errorf("write %q: %w", name, unix.ELOOP)
}

// kindOf returns the type of a file as part of a sentence.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "something special"
	}
}

// createUnnamed creates a file without a name. The error wraps errors.ErrUnsupported if the file
// system cannot.
func createUnnamed(dir string, mode fs.FileMode) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, uint32(mode))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		// Kernels and file systems that do not know the flag return EISDIR, see open(2).
		return nil, errors.ErrUnsupported
	case err != nil:
		return nil, &fs.PathError{Op: "create file in", Path: dir, Err: err}
	}
	file := os.NewFile(uintptr(fd), dir+"/(unnamed)")
	if _, err := os.Lstat(procPath(file)); err != nil {
		// Without /proc the file could never get a name.
		return nil, errors.Join(errors.ErrUnsupported, file.Close())
	}
	return file, nil
}

// TemporaryFile creates a file in dir that has no name and is removed when it is closed.
func TemporaryFile(dir string) (*os.File, error) {
	if file, err := createUnnamed(dir, 0o600); !errors.Is(err, errors.ErrUnsupported) {
		return file, err
	}
	file, err := os.CreateTemp(dir, ".vmdebootstrap-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// procPath returns the path under which the kernel shows an open file.
func procPath(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

// linkUnnamed links the file to its name. A link cannot replace a file, so if one exists, the link
// gets the name of an unfinished file and is then renamed.
func linkUnnamed(file *os.File, target string) error {
	link := func(name string) error {
		return unix.Linkat(unix.AT_FDCWD, procPath(file), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	}
	err := link(target)
	if !errors.Is(err, unix.EEXIST) {
		return describeOp("name", target, err)
	}
	if err := removePartials(target); err != nil {
		return err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return describeOp("lock", target, err)
	}
	partial := partialName(target)
	if err := link(partial); err != nil {
		return describeOp("name", partial, err)
	}
	if err := os.Rename(partial, target); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return nil
}

// describeOp adds operation and name to the error of a system call.
func describeOp(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// describeFull adds the file system to an error because it is full.
func describeFull(err error, target string) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the file system that holds %q is full: %w", filepath.Dir(target), err)
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("the disk quota on the file system that holds %q is used up: %w", filepath.Dir(target), err)
	default:
		return err
	}
}
