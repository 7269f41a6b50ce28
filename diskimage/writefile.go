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

// maxLinks is how many symbolic links WriteFile follows; the kernel's own limit.
const maxLinks = 40

// WriteFile makes the file name with the given permissions, less those that the umask takes, and the content
// that write puts into it. The file gets its name only when it is complete and on disk (fsync of this one
// file); until then an older file of that name stays as it is. After an error or a cancelled ctx nothing is
// left behind, and where the file system has O_TMPFILE not even a kill leaves anything. Elsewhere the
// unfinished file has a hidden random name; one left over from a killed build is removed by the next.
//
// A symbolic link is followed: the file it points to is replaced. Anything else that is not a regular file, such as a
// directory or a device, is refused.
func WriteFile(ctx context.Context, name string, mode fs.FileMode, write func(*os.File) error) error {
	return writeFiles(ctx, []string{name}, mode, func(files []*os.File) error { return write(files[0]) }, createUnnamed)
}

// WriteFiles is WriteFile for files that belong together: none of them gets its name before all are complete.
// write gets them in the order of the names.
func WriteFiles(ctx context.Context, names []string, mode fs.FileMode, write func([]*os.File) error) error {
	return writeFiles(ctx, names, mode, write, createUnnamed)
}

// writeFiles is WriteFiles with a choice of how a file without a name is made.
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

// output is a file on its way to its name.
type output struct {
	target    string
	file      *os.File
	partial   string // its name meanwhile; empty if it has none
	published bool
}

// newOutput makes an empty file where the one of that name will be.
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

// publish gives the file its name.
func (o *output) publish() (err error) {
	if o.partial == "" {
		err = linkUnnamed(o.file, o.target)
	} else {
		err = os.Rename(o.partial, o.target)
	}
	o.published = err == nil
	return err
}

// close ends the work with the file. If all has failed, nothing of it stays.
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

// resolveTarget follows symbolic links and makes sure that what is there may be replaced.
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

// kindOf names a type of file in a sentence.
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

// createUnnamed makes a file that has no name yet. The error wraps errors.ErrUnsupported where that cannot be done.
func createUnnamed(dir string, mode fs.FileMode) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, uint32(mode))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		// EISDIR is the answer of kernels and file systems that do not know the flag, see open(2).
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

// procPath is a name under which the kernel shows an open file.
func procPath(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

// linkUnnamed gives the file its name. A link cannot replace a file, so if there is one, it goes over a name
// as unfinished files have it elsewhere.
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

// describeOp adds to an error of a system call what it was about.
func describeOp(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// describeFull says which file system is full if that is what went wrong.
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
